package conn

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sockaddr holds a struct sockaddr_in or sockaddr_in6 as the kernel lays it
// out: family (native), port (big endian), then for IPv4 the address, for IPv6
// flow label, address and scope (native).
type sockaddr [unix.SizeofSockaddrInet6]byte

// put4 writes an IPv4 address and returns the length the kernel is to be told.
func (sa *sockaddr) put4(to netip.AddrPort) uint32 {
	binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET)
	binary.BigEndian.PutUint16(sa[2:], to.Port())
	ip := to.Addr().As4()
	copy(sa[4:8], ip[:])
	clear(sa[8:unix.SizeofSockaddrInet4])
	return unix.SizeofSockaddrInet4
}

// put6 writes an IPv6 address.
func (sa *sockaddr) put6(to netip.AddrPort, scope uint32) uint32 {
	binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET6)
	binary.BigEndian.PutUint16(sa[2:], to.Port())
	clear(sa[4:8])
	ip := to.Addr().As16()
	copy(sa[8:24], ip[:])
	binary.NativeEndian.PutUint32(sa[24:], scope)
	return unix.SizeofSockaddrInet6
}

// get reads an address that the kernel wrote, without its zone.
func (sa *sockaddr) get() (from netip.AddrPort, scope uint32, ok bool) {
	port := binary.BigEndian.Uint16(sa[2:])
	switch binary.NativeEndian.Uint16(sa[0:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port), 0, true
	case unix.AF_INET6:
		ip := netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
		return netip.AddrPortFrom(ip, port), binary.NativeEndian.Uint32(sa[24:]), true
	}
	return netip.AddrPort{}, 0, false
}
