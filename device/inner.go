package device

import (
	"encoding/binary"
	"net/netip"
)

const (
	ip4Header   = 20
	ip6Header   = 40
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// checkInner checks the decrypted packet of p, folds the outer ECN into it and
// returns its true length, without padding. The arithmetic is in int, so an
// IPv6 payload of 65,535 does not wrap.
func (d *Device) checkInner(p *peer, ip []byte, outer byte) (n int, why Reason) {
	var source netip.Addr
	switch {
	case len(ip) >= ip4Header && ip[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(ip[2:]))
		if n < ip4Header || int(ip[0]&15)*4 < ip4Header {
			return 0, DropBadInner
		}
		source = netip.AddrFrom4([4]byte(ip[12:16]))
	case len(ip) >= ip6Header && ip[0]>>4 == 6:
		n = ip6Header + int(binary.BigEndian.Uint16(ip[4:]))
		source = netip.AddrFrom16([16]byte(ip[8:24]))
	default:
		return 0, DropBadInner
	}
	if n > len(ip) {
		return 0, DropBadInner
	}
	if d.routes.Lookup(source) != p {
		return 0, DropBadSource
	}
	if !decapsulateECN(ip, outer) {
		return 0, DropCongested
	}
	return n, notDropped
}
