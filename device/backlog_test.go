package device

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"

	"culvert/internal/clock"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// newBacklog makes one with memory for so many chunks, in which each of those flows has a
// queue of its own: one in 256 pairs would else share one, by the seed.
func newBacklog(chunks int, flows ...int) *backlog {
	b := &budget{limit: int64(chunks) * readChunkSize}
	q := &backlog{pool: &pool[readChunk]{budget: b, size: readChunkSize, max: int(b.limit), keep: chunks,
		make: newReadChunk, drop: (*readChunk).free, short: func() {}, wake: func() {}}}
	var packets [][]byte
	for _, flow := range flows {
		packets = append(packets, flowPacket(flow, 0, 4))
	}
	q.separate(packets...)
	return q
}

// separate begins q so that each of these packets' flows has a queue of its own.
func (q *backlog) separate(packets ...[]byte) {
	for {
		q.begin()
		queues := map[uint64]bool{}
		for _, ip := range packets {
			queues[flowHash(q.seed, ip)%flowQueues] = true
		}
		if len(queues) == len(packets) {
			return
		}
	}
}

// flowPacket is packet number seq of a flow, with so many bytes of payload.
func flowPacket(flow, seq, size int) []byte {
	payload := make([]byte, size)
	binary.BigEndian.PutUint32(payload, uint32(seq))
	return tuntest.UDP(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1000+flow)), netip.MustParseAddrPort("10.0.0.2:53"), payload)
}

// whichPacket is what flowPacket made.
func whichPacket(ip []byte) (flow, seq int) {
	return int(binary.BigEndian.Uint16(ip[20:])) - 1000, int(binary.BigEndian.Uint32(ip[28:]))
}

// add pushes a packet; false if there is no room. Every other one was read where
// it stays, as by a reader that can.
func (q *backlog) add(ip []byte) bool {
	var p tun.Packet
	room := q.room()
	if room == nil {
		return false
	}
	if q.n%2 == 0 {
		ip = room[:copy(room, ip)]
	}
	p.SetBytes(ip)
	q.push(&p)
	return true
}

// take pops a packet; flow is -1 if there is none.
func (q *backlog) take() (flow, seq, size int) {
	var p tun.Packet
	c, ok := q.pop(&p)
	if !ok {
		return -1, 0, 0
	}
	defer q.done(c)
	flow, seq = whichPacket(p.Bytes())
	return flow, seq, len(p.Bytes())
}

// A flow that has little waits for a turn of one of the others at most, not for
// all that they have waiting.
func TestBacklogServesTheSparse(t *testing.T) {
	for _, size := range []int{60_000, 1400} {
		q := newBacklog(64, 0, 1, 2, 3, 9)
		for seq := range 15 {
			for flow := range 4 {
				q.add(flowPacket(flow, seq, size))
			}
		}
		for range 10 {
			q.take() // no other flow is new any more
		}
		for seq := range 3 {
			for range 5 {
				q.take()
			}
			q.add(flowPacket(9, seq, 100))
			before := 0
			for flow, _, _ := q.take(); flow != 9; flow, _, _ = q.take() {
				before++
			}
			if before > 12 || before > 0 && seq == 0 { // it is not new any more if it comes again within a round
				t.Errorf("%d bytes: %d packets came before packet %d of the sparse flow", size, before, seq)
			}
		}
	}
}

// Flows that both have much waiting get the same bytes, whatever their packets' size.
func TestBacklogIsFair(t *testing.T) {
	q := newBacklog(32, 1, 2)
	for seq := range 25 {
		q.add(flowPacket(1, seq, 60_000))
	}
	for seq := range 900 {
		q.add(flowPacket(2, seq, 1400))
	}
	var bytes [3]int
	for bytes[1]+bytes[2] < 2_000_000 {
		flow, _, size := q.take()
		bytes[flow] += size
	}
	if d := bytes[1] - bytes[2]; d > 70_000 || d < -70_000 {
		t.Errorf("flow 1 got %d bytes, flow 2 %d", bytes[1], bytes[2])
	}
}

// Whatever the mixture, each flow's packets come in order, each once and whole,
// and all memory goes back.
func TestBacklogKeepsOrder(t *testing.T) {
	const flows = 300 // more than queues: some share one
	q, r := newBacklog(8), rand.New(rand.NewPCG(1, 2))
	var sent, got, size [flows]int
	pop := func() bool {
		flow, seq, n := q.take()
		if flow < 0 {
			return false
		}
		if seq != got[flow] || n != 28+size[flow] {
			t.Fatalf("packet %d of flow %d has %d bytes; expected was packet %d of %d", seq, flow, n, got[flow], 28+size[flow])
		}
		got[flow]++
		return true
	}
	for i := range size {
		size[i] = []int{4, 100, 1392, 60_000}[r.IntN(4)]
	}
	refused := 0
	for range 20_000 {
		if flow := r.IntN(flows); r.IntN(5) > 1 {
			if q.add(flowPacket(flow, sent[flow], size[flow])) {
				sent[flow]++
			} else {
				refused++
			}
		} else {
			pop()
		}
		if q.pool.budget.used.Load() > q.pool.budget.limit {
			t.Fatal("more memory than there is")
		}
	}
	for pop() {
	}
	q.rest()
	if sent != got || refused == 0 || q.n != 0 || q.pool.inUse() != 0 {
		t.Errorf("%d refused, %d left, %d chunks in use, all came: %v", refused, q.n, q.pool.inUse(), sent == got)
	}
}

// It holds no more packets than it says, however small.
func TestBacklogIsBounded(t *testing.T) {
	q, n := newBacklog(8), 0
	for q.add(flowPacket(n%7, n, 10)) {
		n++
	}
	if n != maxBacklog {
		t.Errorf("%d packets", n)
	}
}

// What a flow is.
func TestFlowHash(t *testing.T) {
	q := newBacklog(1)
	q.begin()
	hash := func(ip []byte) uint64 { return flowHash(q.seed, ip) }
	a, b := netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("[fd00::2]:2")
	c := netip.MustParseAddrPort("[fd00::2]:3")
	if hash(tuntest.UDP(a, b, []byte("x"))) != hash(tuntest.UDP(a, b, []byte("yz"))) || hash(tuntest.UDP(a, b, nil)) == hash(tuntest.UDP(a, c, nil)) {
		t.Error("IPv6")
	}
	if hash(flowPacket(1, 1, 10)) != hash(flowPacket(1, 2, 20)) || hash(flowPacket(1, 1, 10)) == hash(flowPacket(2, 1, 10)) {
		t.Error("IPv4")
	}
	first, later := flowPacket(1, 1, 10), flowPacket(2, 1, 10)
	first[6], later[6], later[7] = 0x20, 0, 185 // more fragments; offset 1480
	if hash(first) != hash(later) {
		t.Error("fragments of one packet are two flows")
	}
	ping := tuntest.Ping(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 1, 1, nil)
	pong := tuntest.Ping(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 1, 2, nil)
	if hash(ping) != hash(pong) {
		t.Error("pings of one ping(8) are two flows")
	}
	short := flowPacket(1, 1, 10)[:20:20] // no reason to read beyond it
	if hash(short) == hash(flowPacket(1, 1, 10)) || hash(tuntest.UDP(a, b, nil)[:40:40]) == hash(tuntest.UDP(a, b, nil)) {
		t.Error("ports that are not there")
	}
}

// yieldingClock counts how often it was asked to let others run.
type yieldingClock struct {
	clock.Clock
	yields int
}

func (c *yieldingClock) Yield() { c.yields++ }

// A reader with a long backlog lets other threads run now and then, and one
// without never does.
func TestBacklogLetsOthersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &yieldingClock{Clock: clock.Virtual()}
		p := newPair(t, Options{Workers: -1, Budget: 32 << 20, Clock: c})
		p.connect()
		super := tuntest.Super(tuntest.TCP(netip.AddrPortFrom(p.a.inner4, 80), netip.AddrPortFrom(p.b.inner4, 4000), tuntest.TCPHeader{}, make([]byte, 60_000)), 1200, 0)
		send := func(n int) int {
			c.yields = 0
			r := new(listReader)
			for range n {
				r.packets = append(r.packets, super)
			}
			p.a.d.readers.Add(1)
			(&outbound{d: p.a.d, reader: r, ahead: backlog{pool: &p.a.d.readPool}, load: p.a.d.newLoad()}).run()
			return c.yields
		}
		drained, served := maxDrainBytes/len(super)+1, maxServeBytes/len(super)+1
		if n := send(drained - 1); n != 0 {
			t.Errorf("%d times in one drain", n)
		}
		batches := 10 * yieldBatches
		if n := send(drained + batches*served + 1); n != 10 {
			t.Errorf("%d times in %d batches", n, batches)
		}
	})
}

// A packet behind a megabyte of another flow is sent before most of that.
func TestSparseFlowOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1, Budget: 32 << 20})
		p.connect()
		at, n := -1, 0
		small := p.a.packet4(p.b, "the one")
		p.lan.setFate(func(d *datagram) {
			if len(d.data) < 200 {
				at = n
			}
			n++
		})
		r := new(listReader)
		super := tuntest.Super(tuntest.TCP(netip.AddrPortFrom(p.a.inner4, 80), netip.AddrPortFrom(p.b.inner4, 4000), tuntest.TCPHeader{}, make([]byte, 60_000)), 1200, 0)
		for range 30 {
			r.packets = append(r.packets, super)
		}
		r.packets = append(r.packets, append(make([]byte, 10), small...))
		p.a.d.readers.Add(1)
		out := &outbound{d: p.a.d, reader: r, ahead: backlog{pool: &p.a.d.readPool}, load: p.a.d.newLoad()}
		out.ahead.separate(super[10:], small) // behind their virtio headers
		out.run()
		synctest.Wait()
		if n != 30*50+1 || at < 0 || at > 10*50 {
			t.Errorf("it was datagram %d of %d", at, n)
		}
	})
}
