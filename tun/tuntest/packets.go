package tuntest

import (
	"encoding/binary"
	"net/netip"

	"culvert/internal/checksum"
	"culvert/tun"
)

// IP is what may be varied in the IP header of a packet.
type IP struct {
	TOS       byte   // or IPv6 traffic class
	TTL       byte   // or hop limit; 0: 64
	ID        uint16 // IPv4 identification
	NoDF      bool   // IPv4: without "don't fragment"
	FlowLabel uint32 // IPv6
	// Extension is put between the IPv6 header and the transport: whole
	// extension headers, the last of which has the transport's number as its
	// next header. ExtensionType is the number of the first.
	Extension     []byte
	ExtensionType byte
	Options       []byte // IPv4 options, a multiple of 4 bytes
}

// TCPHeader is what may be varied in a TCP header.
type TCPHeader struct {
	Seq, Ack uint32
	Flags    byte // 0: ACK
	Window   uint16
	Options  []byte // a multiple of 4 bytes
}

// TCP flags.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
	URG = 0x20
	ECE = 0x40
	CWR = 0x80
)

// UDP is a UDP packet over the addresses' IP version, with good checksums.
func UDP(src, dst netip.AddrPort, payload []byte) []byte { return IP{}.UDP(src, dst, payload) }

// UDP4 is UDP for addresses given as text, as "10.0.0.1:53".
func UDP4(src, dst string, payload []byte) []byte {
	return UDP(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload)
}

// TCP is a TCP packet over the addresses' IP version, with good checksums.
func TCP(src, dst netip.AddrPort, h TCPHeader, payload []byte) []byte {
	return IP{}.TCP(src, dst, h, payload)
}

// UDP is a UDP packet with ip's header.
func (ip IP) UDP(src, dst netip.AddrPort, payload []byte) []byte {
	segment := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(segment[0:], src.Port())
	binary.BigEndian.PutUint16(segment[2:], dst.Port())
	binary.BigEndian.PutUint16(segment[4:], uint16(8+len(payload)))
	return ip.packet(17, src.Addr(), dst.Addr(), append(segment, payload...), 6)
}

// TCP is a TCP packet with ip's header.
func (ip IP) TCP(src, dst netip.AddrPort, h TCPHeader, payload []byte) []byte {
	segment := make([]byte, 20, 20+len(h.Options)+len(payload))
	binary.BigEndian.PutUint16(segment[0:], src.Port())
	binary.BigEndian.PutUint16(segment[2:], dst.Port())
	binary.BigEndian.PutUint32(segment[4:], h.Seq)
	binary.BigEndian.PutUint32(segment[8:], h.Ack)
	segment[12] = byte(20+len(h.Options)) / 4 << 4
	segment[13] = h.Flags
	if h.Flags == 0 {
		segment[13] = ACK
	}
	binary.BigEndian.PutUint16(segment[14:], h.Window)
	segment = append(segment, h.Options...)
	return ip.packet(6, src.Addr(), dst.Addr(), append(segment, payload...), 16)
}

// Ping is an ICMP or ICMPv6 echo request.
func Ping(src, dst netip.Addr, id, seq uint16, payload []byte) []byte {
	message := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(message[4:], id)
	binary.BigEndian.PutUint16(message[6:], seq)
	message = append(message, payload...)
	if src.Is6() {
		message[0] = 128
		return IP{}.packet(58, src, dst, message, 2)
	}
	message[0] = 8
	return IP{}.packet(1, src, dst, message, 2)
}

// packet puts an IP header before segment, whose checksum field is at field.
func (ip IP) packet(proto byte, src, dst netip.Addr, segment []byte, field int) []byte {
	var pseudo checksum.Sum
	if proto != 1 {
		pseudo = checksum.Pseudo(proto, src.AsSlice(), dst.AsSlice(), len(segment))
	}
	sum := pseudo.Add(segment).Checksum()
	if sum == 0 && proto == 17 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(segment[field:], sum)
	ttl := ip.TTL
	if ttl == 0 {
		ttl = 64
	}
	if src.Is4() {
		return ip.v4(proto, ttl, src, dst, segment)
	}
	header := make([]byte, 40)
	binary.BigEndian.PutUint32(header, 6<<28|uint32(ip.TOS)<<20|ip.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(header[4:], uint16(len(ip.Extension)+len(segment)))
	header[6], header[7] = proto, ttl
	if len(ip.Extension) > 0 {
		header[6] = ip.ExtensionType
	}
	copy(header[8:], src.AsSlice())
	copy(header[24:], dst.AsSlice())
	return append(append(header, ip.Extension...), segment...)
}

func (ip IP) v4(proto, ttl byte, src, dst netip.Addr, segment []byte) []byte {
	header := append(make([]byte, 20), ip.Options...)
	header[0], header[1] = 0x40|byte(len(header)/4), ip.TOS
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(segment)))
	binary.BigEndian.PutUint16(header[4:], ip.ID)
	if !ip.NoDF {
		header[6] = 0x40
	}
	header[8], header[9] = ttl, proto
	copy(header[12:], src.AsSlice())
	copy(header[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(header[10:], checksum.Sum(0).Add(header).Checksum())
	return append(header, segment...)
}

// Super makes of a whole TCP or UDP packet (no fragment; IPv6 extension
// headers only if transport says where they end) what a TUN delivers for it
// when it is to be cut into segments of size bytes of payload: the checksum
// field holds the sum of the pseudo-header, and a virtio-net header goes in
// front. transport is the offset of the transport header, 0 for right behind
// the IP header.
func Super(packet []byte, size, transport int) []byte {
	p := append([]byte(nil), packet...)
	var src, dst []byte
	proto, ip, v4 := p[6], 40, p[0]>>4 == 4
	if v4 {
		src, dst, proto, ip = p[12:16], p[16:20], p[9], int(p[0]&15)*4
	} else {
		src, dst = p[8:24], p[24:40]
	}
	if transport != 0 {
		ip = transport
		proto = 6
		if int(binary.BigEndian.Uint16(p[ip+4:])) == len(p)-ip {
			proto = 17
		}
	}
	gso, header, field := byte(4), ip+8, 16
	switch {
	case proto == 17:
		gso, field = 5, 6
	case v4:
		gso = 1
	}
	if proto == 6 {
		header = ip + int(p[ip+12]>>4)*4
		if p[ip+13]&CWR != 0 {
			gso |= 0x80
		}
	}
	binary.BigEndian.PutUint16(p[ip+field:], checksum.Pseudo(proto, src, dst, len(p)-ip).Fold())
	b := make([]byte, tun.VirtioLen, tun.VirtioLen+len(p))
	b[0], b[1] = 1, gso
	binary.NativeEndian.PutUint16(b[2:], uint16(header))
	binary.NativeEndian.PutUint16(b[4:], uint16(size))
	binary.NativeEndian.PutUint16(b[6:], uint16(ip))
	binary.NativeEndian.PutUint16(b[8:], uint16(field))
	return append(b, p...)
}
