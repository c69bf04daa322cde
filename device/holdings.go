package device

import (
	"math/bits"
	"time"
	"unsafe"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/aead"
	"culvert/noise"
	"culvert/timers"
)

// Holding is what a device keeps of one kind, packets left aside: how many there are,
// and how many bytes of heap they take.
type Holding struct {
	Kind  string
	Count int
	Bytes int64
}

// holdingsPatience is how long the controller may be busy with something else, such as
// a configuration of a million peers, before it is left alone.
const holdingsPatience = time.Second

// holdingsChunk is the number of peers counted in one go: the controller is busy for
// less than a millisecond.
const holdingsChunk = 2048

// Holdings counts what the device keeps, in about 0.1 us a peer. Bytes are computed, from
// numbers, sizes and capacities; those of the map of keys are an estimate. Not counted is
// what neither peers nor sessions make more. nil: the device is closed, or busy for more
// than a second. Safe for concurrent use.
func (d *Device) Holdings() []Holding {
	var t tally
	timer := time.NewTimer(holdingsPatience)
	defer timer.Stop()
	for next, more := uint64(0), true; more; {
		done := make(chan struct{})
		timer.Reset(holdingsPatience)
		select {
		case d.commands <- func() { next, more = d.controller.count(&t, next); close(done) }:
			<-done
		case <-d.ended:
			return nil
		case <-timer.C:
			return nil
		}
	}
	indices, buckets := d.index.size()
	return []Holding{
		holding[peer]("peers", t.peers),
		{"peer_list", t.peers, int64(t.places) * int64(unsafe.Sizeof(listItem{}))},
		{"key_map", t.peers, mapBytes(t.keys, config.KeySize+pointer)},
		{"allowed_ip_tables", t.routes, t.tables},
		{"allowed_ip_lists", t.lists, t.listed},
		holding[conn.Endpoint]("endpoints", t.endpoints),
		holding[remote]("handshake_secrets", t.remotes),
		holding[secrets]("sessions", t.sessions),
		{"keypairs", t.keypairs, int64(t.keypairs) * (heapSize[keypair]() + heapSize[noise.Keypair]() + 2*(heapSize[aead.Key]()+aead.KeySize))},
		{"replay_windows", t.windows, int64(t.windows) * noise.WindowBytes},
		{"handshakes", t.pending, int64(t.pending) * (heapSize[pending]() + heapSize[noise.Handshake]())},
		{"receiver_indices", indices, int64(indices)*heapSize[indexEntry]() + int64(buckets)*pointer},
		{"peer_queues", t.queues, t.queued},
		{"timing_wheel", t.armed, heapSize[timers.Wheel[peer]]()},
	}
}

// tally is what was counted so far.
type tally struct {
	peers, endpoints, remotes, lists, sessions, keypairs, windows, pending, queues int
	listed, queued                                                                 int64 // bytes
	// Of all peers, as they were last.
	places, keys, routes, armed int
	tables                      int64 // bytes
}

// count counts a chunk of peers from seq on, and says where to go on, if there is more.
func (c *controller) count(t *tally, seq uint64) (next uint64, more bool) {
	items := c.peers.items[c.peers.from(seq):]
	more = len(items) > holdingsChunk
	items = items[:min(len(items), holdingsChunk)]
	for _, it := range items {
		seq = it.seq + 1
		if it.peer != nil {
			t.add(it.peer)
		}
	}
	if !more {
		t.places, t.armed = cap(c.peers.items), c.wheel.Len()
		t.routes, t.tables = c.d.routes.Len(), c.d.routes.Bytes()
		c.d.byKey.mu.RLock()
		t.keys = max(c.d.byKey.most, len(c.d.byKey.m))
		c.d.byKey.mu.RUnlock()
	}
	return seq, more
}

func (t *tally) add(p *peer) {
	t.peers++
	t.endpoints += one(p.endpoint.Load() != nil)
	t.remotes += one(p.remote.Load() != nil)
	if n := p.prefixes.Bytes(); n > 0 {
		t.lists++
		t.listed += n
	}
	for _, n := range []int64{p.out.bytes(), p.in.bytes()} {
		t.queues += one(n > 0)
		t.queued += n
	}
	if p.secrets == nil {
		return
	}
	t.sessions++
	for _, k := range p.secrets.keys {
		if k != nil {
			t.keypairs++
			t.windows += one(k.wideWindow.Load())
		}
	}
	t.pending += one(p.secrets.waiting != nil)
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// holding is n values of type T, each in memory of its own.
func holding[T any](kind string, n int) Holding {
	return Holding{kind, n, int64(n) * heapSize[T]()}
}

const pointer = int64(unsafe.Sizeof(uintptr(0)))

// heapSize is what the allocator takes for a T that has pointers: the next of its sizes,
// with a word more for it above 512 bytes.
func heapSize[T any]() int64 {
	size := int64(unsafe.Sizeof(*new(T)))
	if size > 512 {
		size += 8
	}
	return int64(cap(append([]byte(nil), make([]byte, size)...)))
}

// mapBytes estimates a map of Go that has had n entries of that size: places in groups of
// 8, with a byte for each, of which 7 are used at most; from 1,024 on in tables of so
// many, each rounded up to pages of 8 KiB.
func mapBytes(n int, entry int64) int64 {
	const table, page = 1024, 8 << 10
	places := int64(8)
	if n > 7 {
		places = 1 << bits.Len(uint((n*8+6)/7-1))
	}
	if places < table {
		return places * (entry + 1)
	}
	return places / table * ((table*(entry+1) + page - 1) / page * page)
}
