package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"

	"culvert/noise"
	"culvert/tun/tuntest"
)

// flow is packets of one size from one node to another. Within a node no two flows
// have the same size on the wire, so that a datagram tells of which it is.
type flow struct {
	id       int
	from, to *node
	src, dst netip.AddrPort
	size     int // of the IP packet
	left     int
	every    time.Duration
	packets  []packet
	spoof    bool // the receiver does not allow the source
	nowhere  bool // there is no peer to send it to
	at       map[*node]*progress
}

// packet is what became of one.
type packet struct {
	sent      time.Duration
	peer      *peer // it was routed to; nil: to nobody, or the interface was down
	delivered bool
}

// progress is how far a flow got at a receiver.
type progress struct {
	serial     uint64 // the highest of its datagrams that arrived
	seq        int    // the highest of its packets that came out
	disordered bool   // datagrams arrived that were overtaken
}

// class is what tells flows apart on the wire.
type class struct {
	from *node
	wire int // bytes
}

// innerHeader is flow and number of a packet, in front of its payload.
const innerHeader = 12

// newFlow makes a flow that begins now. Its addresses depend on its number.
func (w *world) newFlow(from, to *node, n int, every time.Duration) *flow {
	f := &flow{id: len(w.flows), from: from, to: to, left: n, every: every, at: map[*node]*progress{}}
	w.flows = append(w.flows, f)
	own, theirs := from.plan.prefixes, to.plan.prefixes
	dst := theirs[f.id%len(theirs)]
	for i := range own {
		if p := own[(f.id/2+i)%len(own)]; p.Addr().Is4() == dst.Addr().Is4() {
			f.src = netip.AddrPortFrom(inner(p, f.id), uint16(1000+f.id))
			break
		}
	}
	f.dst = netip.AddrPortFrom(inner(dst, f.id/3), 2000)
	f.sized()
	return f
}

// sized gives f a size that no other flow of its node has.
func (f *flow) sized() {
	w := f.from.w
	for i := 0; ; i++ {
		f.size = 66 + (f.id*7+i)%83*16 - f.id%2
		if c := (class{f.from, f.wire()}); w.classes[c] == nil || w.classes[c].left == 0 && w.classes[c].ended() || i > 100 {
			w.classes[c] = f
			return
		}
	}
}

// ended reports that none of the flow's packets is on its way any more, as far as a
// minute can tell.
func (f *flow) ended() bool {
	return len(f.packets) == 0 || f.from.w.now()-f.packets[len(f.packets)-1].sent > time.Minute
}

// wire is the size of its datagrams.
func (f *flow) wire() int { return (f.size+15)&^15 + noise.TransportHeaderSize + noise.TagSize }

// due has the next packet sent, and the one after it later.
func (f *flow) due() {
	for f.left > 0 {
		f.left--
		f.from.inject(f)
		if f.every > 0 {
			break
		}
	}
	if f.left > 0 {
		f.from.w.later(f.from.w.now()+f.every, item{flow: f})
	}
}

// packet builds the packet with that number.
func (f *flow) packet(seq int) []byte {
	headers := 28
	if f.src.Addr().Is6() {
		headers = 48
	}
	payload := make([]byte, f.size-headers)
	binary.BigEndian.PutUint32(payload, uint32(f.id))
	binary.BigEndian.PutUint64(payload[4:], uint64(seq))
	for i := innerHeader; i < len(payload); i++ {
		payload[i] = byte(i*7 + f.id*3 + seq)
	}
	return tuntest.UDP(f.src, f.dst, payload)
}

// identify tells which packet b is, byte by byte; false: none of ours.
func (w *world) identify(b []byte) (f *flow, seq int, ok bool) {
	headers := 28
	if len(b) > 0 && b[0]>>4 == 6 {
		headers = 48
	}
	if len(b) < headers+innerHeader {
		return nil, 0, false
	}
	id := binary.BigEndian.Uint32(b[headers:])
	seq = int(binary.BigEndian.Uint64(b[headers+4:]))
	if id >= uint32(len(w.flows)) {
		return nil, 0, false
	}
	f = w.flows[id]
	return f, seq, seq >= 0 && seq < len(f.packets) && bytes.Equal(b, f.packet(seq))
}

func itoa(n int) string { return strconv.Itoa(n) }
