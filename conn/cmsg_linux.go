package conn

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Control messages are written and read byte by byte, in native order:
// no pointer is cast, so alignment does not matter to us. The kernel only asks
// that each message start at a multiple of the word size within the buffer.
//
//	struct cmsghdr { size_t len; int level; int type; } data, padded to a word
const (
	wordSize   = unix.SizeofCmsghdr - 8 // 8 or 4: level and type take 8 bytes
	cmsgHeader = (unix.SizeofCmsghdr + wordSize - 1) &^ (wordSize - 1)
)

func cmsgAlign(n int) int { return (n + wordSize - 1) &^ (wordSize - 1) }

// controlSize has room for all we ask for: traffic class (4 bytes), segment
// size (4) and packet info (12 or 20), each with header and padding, and some
// more.
const controlSize = 128

type control [controlSize]byte

// put writes the header of a message with n bytes of data at off. It returns
// the place of the data and where the next message goes.
func (c *control) put(off, level, kind, n int) (data []byte, next int) {
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(c[off:], uint64(cmsgHeader+n))
	} else {
		binary.NativeEndian.PutUint32(c[off:], uint32(cmsgHeader+n))
	}
	binary.NativeEndian.PutUint32(c[off+wordSize:], uint32(level))
	binary.NativeEndian.PutUint32(c[off+wordSize+4:], uint32(kind))
	return c[off+cmsgHeader : off+cmsgHeader+n], off + cmsgHeader + cmsgAlign(n)
}

func (c *control) putTOS(off int, f family, tos byte) int {
	var data []byte
	if f == ipv4 {
		data, off = c.put(off, unix.IPPROTO_IP, unix.IP_TOS, 4)
	} else {
		data, off = c.put(off, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)
	}
	binary.NativeEndian.PutUint32(data, uint32(tos))
	return off
}

func (c *control) putSegment(off, size int) int {
	data, off := c.put(off, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return off
}

// putSource writes struct in_pktinfo {ifindex, spec_dst, addr} or
// in6_pktinfo {addr, ifindex}. ifindex is 0 unless the address has meaning only
// on one link: like the kernel's WireGuard we leave the way out to routing.
func (c *control) putSource(off int, f family, src netip.Addr, ifindex uint32) int {
	if f == ipv4 {
		data, next := c.put(off, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		ip := src.As4()
		clear(data)
		copy(data[4:8], ip[:])
		return next
	}
	data, next := c.put(off, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	ip := src.As16()
	copy(data, ip[:])
	binary.NativeEndian.PutUint32(data[16:], ifindex)
	return next
}

// parse reads what came with a datagram into m. Messages it does not know are
// skipped; it ends at the first that is malformed.
func (m *Message) parseControl(c []byte) {
	for len(c) >= cmsgHeader {
		size := cmsgLen(c)
		if size < cmsgHeader || size > len(c) {
			return
		}
		level := binary.NativeEndian.Uint32(c[wordSize:])
		kind := binary.NativeEndian.Uint32(c[wordSize+4:])
		m.control(int(level), int(kind), c[cmsgHeader:size])
		c = c[min(cmsgAlign(size), len(c)):]
	}
}

// cmsgLen is the length that a message claims, -1 if no buffer can be so long.
func cmsgLen(c []byte) int {
	var n uint64
	if wordSize == 8 {
		n = binary.NativeEndian.Uint64(c)
	} else {
		n = uint64(binary.NativeEndian.Uint32(c))
	}
	if n > 1<<20 {
		return -1
	}
	return int(n)
}

func (m *Message) control(level, kind int, data []byte) {
	switch {
	case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(data) >= 4:
		m.Segment = int(int32(binary.NativeEndian.Uint32(data)))
	case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(data) >= 1:
		m.TOS = data[0]
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(data) >= 4:
		m.TOS = byte(binary.NativeEndian.Uint32(data))
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		m.IfIndex = binary.NativeEndian.Uint32(data)
		// spec_dst is the header's destination if that is ours, else (broadcast,
		// multicast) the address of ours to answer from.
		if src := netip.AddrFrom4([4]byte(data[4:8])); !src.IsUnspecified() {
			m.Local = src
		}
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		m.IfIndex = binary.NativeEndian.Uint32(data[16:])
		if dst := netip.AddrFrom16([16]byte(data[:16])); !dst.IsMulticast() {
			m.Local = dst
		}
	}
}
