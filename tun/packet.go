package tun

import "culvert/internal/checksum"

// A Packet is what one read of a TUN queue gave: an IP packet, or a TCP or UDP
// super-packet that is split into segments on the way out. It aliases the
// reader's memory until the next read.
type Packet struct {
	data []byte // from the IP header on

	// Segmentation (split.go). The fields below segmentLen mean nothing when
	// segmentLen is 0.
	segmentLen int // payload per segment; 0: a single packet
	headerLen  int // bytes of IP and transport header repeated in each segment
	transport  int // where the transport header starts
	udp        bool
	cwr        bool         // CWR stays on the first segment only (RFC 3168 section 6.1.2)
	pseudo     checksum.Sum // of the pseudo-header, without the length

	// Waited says that Read found nothing and waited. False also where the
	// platform does not tell.
	Waited bool
}

// Bytes is the whole (super-)packet from its IP header on: enough to route by
// its addresses, which all segments share. At least 20 bytes for IPv4 and 40
// for IPv6; the version nibble is 4 or 6.
func (p *Packet) Bytes() []byte { return p.data }

// SetBytes makes p a single packet: for implementations of Reader elsewhere.
// data must satisfy what Bytes promises.
func (p *Packet) SetBytes(data []byte) { *p = Packet{data: data} }

// Segments is the number of packets in p, at least 1.
func (p *Packet) Segments() int {
	if p.segmentLen == 0 {
		return 1
	}
	return (len(p.data) - p.headerLen + p.segmentLen - 1) / p.segmentLen
}

// SegmentLen is the size of packet i in bytes.
func (p *Packet) SegmentLen(i int) int {
	if p.segmentLen == 0 {
		return len(p.data)
	}
	return p.headerLen + min(p.segmentLen, len(p.data)-p.headerLen-i*p.segmentLen)
}

// CopySegment writes packet i, whole and with good checksums, to dst, which
// has at least SegmentLen(i) bytes, and returns its size. It is the one copy
// of the outbound path. Segments may be copied in any order, and again.
func (p *Packet) CopySegment(i int, dst []byte) int {
	if p.segmentLen == 0 {
		return copy(dst, p.data)
	}
	return p.split(i, dst)
}
