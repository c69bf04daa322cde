package tun

import (
	"encoding/binary"

	"culvert/internal/checksum"
)

// Splitting: what the kernel left for a network card to do (TCP segmentation,
// UDP segmentation, checksums) is done here. The virtio-net header says where
// the transport header starts and where its checksum is; the checksum field
// holds the sum of the pseudo-header for the whole super-packet, which is
// right also behind IPv6 routing headers, where the addresses in sight are not
// those of the pseudo-header.

const (
	protoTCP = 6
	protoUDP = 17

	ipv4Header = 20 // without options
	ipv6Header = 40
	udpHeader  = 8

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80
)

// SetVirtio makes p the (super-)packet that one read of a TUN with
// IFF_VNET_HDR gave: a virtio-net header of VirtioLen bytes and an IP packet.
// b is kept as Packet says and changed (a checksum may be filled in). It
// returns false, with p empty, if b is malformed; b may be hostile.
func (p *Packet) SetVirtio(b []byte) bool {
	*p = Packet{}
	if len(b) < virtioLen {
		return false
	}
	var h virtioHeader
	h.decode(b)
	data := b[virtioLen:]
	if !plausibleIP(data) {
		return false
	}
	p.data = data
	if !p.decode(&h) {
		*p = Packet{}
		return false
	}
	return true
}

// plausibleIP is what Bytes promises.
func plausibleIP(data []byte) bool {
	if len(data) < ipv4Header {
		return false
	}
	switch data[0] >> 4 {
	case 4:
		return true
	case 6:
		return len(data) >= ipv6Header
	}
	return false
}

func (p *Packet) decode(h *virtioHeader) bool {
	if h.gsoType == gsoNone {
		return h.flags&virtioNeedsChecksum == 0 || p.finishChecksum(int(h.checksumStart), int(h.checksum))
	}
	transport, ok := p.transportOf(h)
	if !ok {
		return false
	}
	headerLen, field := transport+udpHeader, transport+6
	if !p.udp {
		if len(p.data) < transport+20 {
			return false
		}
		size := int(p.data[transport+12]>>4) * 4
		if size < 20 {
			return false
		}
		headerLen, field = transport+size, transport+16
	}
	if len(p.data) < headerLen || h.gsoSize == 0 {
		return false
	}
	if len(p.data)-headerLen <= int(h.gsoSize) { // one segment only
		return p.finishChecksum(transport, field-transport)
	}
	p.segmentLen, p.headerLen, p.transport = int(h.gsoSize), headerLen, transport
	p.cwr = !p.udp && h.gsoType&gsoECN != 0
	p.pseudo = checksum.Sum(0).
		AddUint16(binary.BigEndian.Uint16(p.data[field:])).
		SubUint16(uint16(len(p.data) - transport))
	return true
}

// transportOf checks that the header fits the packet and tells where the
// transport header starts. It sets p.udp.
func (p *Packet) transportOf(h *virtioHeader) (int, bool) {
	v4 := p.data[0]>>4 == 4
	field := 16
	switch kind := h.gsoType &^ gsoECN; {
	case kind == gsoTCPv4 && v4, kind == gsoTCPv6 && !v4:
	case kind == gsoUDP:
		p.udp, field = true, 6
	default:
		return 0, false
	}
	start := int(h.checksumStart)
	// Every super-packet of Linux has a partial checksum.
	if h.flags&virtioNeedsChecksum == 0 || int(h.checksum) != field {
		return 0, false
	}
	if v4 {
		size := int(p.data[0]&15) * 4
		return start, size >= ipv4Header && start == size
	}
	return start, start >= ipv6Header
}

// finishChecksum completes a partial checksum: the field's content, the
// pseudo-header's sum, counts as part of the data.
func (p *Packet) finishChecksum(start, offset int) bool {
	minimum := ipv4Header
	if p.data[0]>>4 == 6 {
		minimum = ipv6Header
	}
	field := start + offset
	if start < minimum || offset < 0 || field+2 > len(p.data) {
		return false
	}
	sum := checksum.Sum(0).Add(p.data[start:]).Checksum()
	putChecksum(p.data[field:], sum)
	return true
}

// putChecksum stores a transport checksum. 0 is stored as 0xffff, the same
// number in ones' complement: to UDP a zero says "no checksum" (RFC 768). The
// sum of a packet with a pseudo-header is never 0, so this happens for 0 only.
func putChecksum(field []byte, sum uint16) {
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}

// split writes segment i to dst.
func (p *Packet) split(i int, dst []byte) int {
	from := p.headerLen + i*p.segmentLen
	to := min(from+p.segmentLen, len(p.data))
	dst = dst[:p.headerLen+to-from]
	copy(dst, p.data[:p.headerLen])
	copy(dst[p.headerLen:], p.data[from:to])

	if dst[0]>>4 == 4 {
		splitIPv4(dst, uint16(i))
	} else {
		binary.BigEndian.PutUint16(dst[4:], uint16(len(dst)-ipv6Header))
	}
	segment := dst[p.transport:]
	if p.udp {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
		binary.BigEndian.PutUint16(segment[6:], 0)
		sum := p.pseudo.AddUint16(uint16(len(segment))).Add(segment)
		putChecksum(segment[6:], sum.Checksum())
		return len(dst)
	}
	p.splitTCP(segment, i, to == len(p.data))
	sum := p.pseudo.AddUint16(uint16(len(segment))).Add(segment)
	binary.BigEndian.PutUint16(segment[16:], sum.Checksum())
	return len(dst)
}

// splitIPv4 sets the length, counts the identification up as the kernel's own
// segmentation does, and renews the header checksum.
func splitIPv4(packet []byte, i uint16) {
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[4:], binary.BigEndian.Uint16(packet[4:])+i)
	binary.BigEndian.PutUint16(packet[10:], 0)
	header := packet[:int(packet[0]&15)*4]
	binary.BigEndian.PutUint16(packet[10:], checksum.Sum(0).Add(header).Checksum())
}

// splitTCP sets the sequence number, leaves FIN and PSH to the last segment
// and CWR to the first, and clears the checksum.
func (p *Packet) splitTCP(segment []byte, i int, last bool) {
	seq := binary.BigEndian.Uint32(segment[4:])
	binary.BigEndian.PutUint32(segment[4:], seq+uint32(i*p.segmentLen))
	if !last {
		segment[13] &^= tcpFIN | tcpPSH
	}
	if p.cwr && i > 0 {
		segment[13] &^= tcpCWR
	}
	binary.BigEndian.PutUint16(segment[16:], 0)
}
