package device

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"culvert/internal/checksum"
	"culvert/internal/clock"
	"culvert/tun"
)

// Limits of ICMP errors into the TUN, the kernel's defaults (icmp_msgs_per_sec,
// icmp_msgs_burst; Documentation/networking/ip-sysctl.rst).
const (
	icmpPerSecond = 1000
	icmpBurst     = 50
	// icmpQuote is how much of the offending packet an error quotes at most:
	// the whole error fits 576 bytes (RFC 1812, section 4.3.2.3), and the IPv6
	// minimum MTU with room to spare.
	icmpQuote = 548
)

// icmpLimit is a token bucket for ICMP errors. It is asked for refused packets
// only.
type icmpLimit struct {
	mu     sync.Mutex
	tokens float64
	at     clock.Time
}

// allow takes a token, if there is one.
func (l *icmpLimit) allow(now clock.Time) bool { return l.take(now, 1) }

// exhausted reports that there is none.
func (l *icmpLimit) exhausted(now clock.Time) bool { return !l.take(now, 0) }

func (l *icmpLimit) take(now clock.Time, n float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == 0 {
		l.tokens = icmpBurst
	} else {
		l.tokens = min(icmpBurst, l.tokens+now.Sub(l.at).Seconds()*icmpPerSecond)
	}
	l.at = now
	if l.tokens < 1 {
		return false
	}
	l.tokens -= n
	return true
}

// unreachable answers a packet that cannot be sent with an ICMP error into the
// TUN: host unreachable for IPv4, address unreachable for IPv6. The error comes
// from the packet's own destination, an address that is routed into this TUN.
func (d *Device) unreachable(now clock.Time, ip []byte) {
	if d.icmp.exhausted(now) {
		return // before anything is built: a flood of such packets is cheap
	}
	var reply []byte
	if ip[0]>>4 == 4 {
		reply = unreachable4(ip)
	} else {
		reply = unreachable6(ip)
	}
	if reply == nil || !d.icmp.allow(now) {
		return
	}
	if _, err := d.tun.Write([][]byte{reply}, tun.Headroom); err != nil {
		d.tunFailed(err)
	}
}

// unreachable4 builds the error (RFC 792), behind tun.Headroom bytes; nil where
// RFC 1122, section 3.2.2, forbids one.
func unreachable4(ip []byte) []byte {
	src, dst := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	header := int(ip[0]&15) * 4
	switch {
	case header < ip4Header || header > len(ip),
		binary.BigEndian.Uint16(ip[6:])&0x1fff != 0, // not a first fragment
		!mayAnswer(src, dst), dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return nil
	case ip[9] == protoICMP && (len(ip) == header || !icmpQuery4(ip[header])):
		return nil
	}
	quote := ip[:min(len(ip), icmpQuote)]
	b := make([]byte, tun.Headroom+ip4Header+8+len(quote))
	out := b[tun.Headroom:]
	out[0], out[1] = 0x45, 0xc0 // internetwork control, as RFC 1812 wants of errors
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	out[8], out[9] = 64, protoICMP
	copy(out[12:], ip[16:20])
	copy(out[16:], ip[12:16])
	binary.BigEndian.PutUint16(out[10:], checksum.Sum(0).Add(out[:ip4Header]).Checksum())
	message := out[ip4Header:]
	message[0], message[1] = 3, 1 // destination unreachable: host
	copy(message[8:], quote)
	binary.BigEndian.PutUint16(message[2:], checksum.Sum(0).Add(message).Checksum())
	return b
}

// icmpQuery4 reports whether an ICMP type is a question or its answer, not an
// error.
func icmpQuery4(t byte) bool { return t == 0 || t == 8 || t >= 13 && t <= 18 }

// unreachable6 builds the error (RFC 4443), behind tun.Headroom bytes; nil where
// section 2.4 forbids one.
func unreachable6(ip []byte) []byte {
	src, dst := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	if !mayAnswer(src, dst) || ip[6] == protoICMPv6 && (len(ip) == ip6Header || ip[ip6Header] < 128) {
		return nil
	}
	quote := ip[:min(len(ip), icmpQuote)]
	b := make([]byte, tun.Headroom+ip6Header+8+len(quote))
	out := b[tun.Headroom:]
	out[0] = 6 << 4
	out[6], out[7] = protoICMPv6, 64
	binary.BigEndian.PutUint16(out[4:], uint16(8+len(quote)))
	copy(out[8:], ip[24:40])
	copy(out[24:], ip[8:24])
	message := out[ip6Header:]
	message[0], message[1] = 1, 3 // destination unreachable: address
	copy(message[8:], quote)
	binary.BigEndian.PutUint16(message[2:], checksum.Pseudo(protoICMPv6, out[8:24], out[24:40], len(message)).Add(message).Checksum())
	return b
}

// mayAnswer reports whether an error may be sent to src about dst.
func mayAnswer(src, dst netip.Addr) bool {
	return !src.IsUnspecified() && !src.IsMulticast() && !dst.IsMulticast() && !dst.IsUnspecified()
}
