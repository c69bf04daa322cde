package tun

import "culvert/internal/checksum"

// ReadSize is the memory for one read: one byte more than a TUN can deliver (a
// virtio-net header and 64 KiB), so that a packet cut off by the buffer is told
// from one that fits.
const ReadSize = virtioLen + 1<<16 + 1

// A Packet is what one read of a TUN queue gave: an IP packet, or a TCP or UDP
// super-packet that is split into segments on the way out. It aliases the
// reader's memory until the next read, unless Into said otherwise.
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

	// Into is memory for the next read to be made into, at least ReadSize bytes;
	// nil: the reader's own. Readers may not be able to, see Own.
	Into []byte
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

// Own makes sure that p, which was just read, lies at the beginning of the memory
// that Into was, so that it outlives the next read, and returns how many bytes it
// takes there. It copies what the reader could not read into it.
func (p *Packet) Own(into []byte) int {
	start := cap(into) - cap(p.data)
	if start < 0 || start > virtioLen || &into[:cap(into)][cap(into)-1] != &p.data[:cap(p.data)][cap(p.data)-1] {
		start = 0
		p.data = into[:copy(into, p.data)]
	}
	return start + len(p.data)
}

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
