package device

import (
	"sync"
	"sync/atomic"

	"culvert/device/session"
	"culvert/internal/clock"
)

// maxStaged is the number of packets kept per peer while there are no keys;
// beyond that the oldest goes (kernel: MAX_STAGED_PACKETS).
const maxStaged = 128

// stage keeps packets, compact copies inside the budget, until there are keys.
// The zero value is ready. Safe for concurrent use.
type stage struct {
	n  atomic.Int32 // how many, to be read without the lock
	mu sync.Mutex
	// packets is oldest first; nil: none.
	packets *[][]byte
}

// all are the packets; the lock is held.
func (s *stage) all() [][]byte {
	if s.packets == nil {
		return nil
	}
	return *s.packets
}

// waiting reports whether anything is staged.
func (s *stage) waiting() bool { return s.n.Load() > 0 }

// stagedSize is what a packet of n bytes takes at most while it is staged: the
// allocator rounds up by a quarter at most, and its place in the queue, which
// grows by doubling, has 24 bytes.
func stagedSize(n int) int { return n + n/4 + 2*24 }

// push keeps packet; if the oldest had to go, what it took is returned.
func (s *stage) push(packet []byte) (lost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all()
	if len(all) == maxStaged {
		lost = stagedSize(len(all[0]))
		copy(all, all[1:])
		all = all[:maxStaged-1]
	}
	if s.packets == nil {
		s.packets = new([][]byte)
	}
	*s.packets = append(all, packet)
	s.n.Store(int32(len(*s.packets)))
	return lost
}

// flushStaged sends what is staged for p, if there is a key. Whoever holds the
// stage's lock decides the order on the wire: packets that come meanwhile wait
// for it (outbound.route) and go after.
func (d *Device) flushStaged(p *peer, now clock.Time) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	k := p.sendKey.Load()
	if !k.usable(now) || len(p.stage.all()) == 0 {
		return
	}
	mtu := int(d.mtu.Load())
	b := d.newBatch(p, k, now)
	if b == nil && k.barred.Load() { // replaced just now: they wait for the other
		d.needKeys(p, session.DataWaits)
		return
	}
	for _, packet := range p.stage.all() {
		d.stageBudget.give(stagedSize(len(packet)))
		if b != nil && !b.room(len(packet)) {
			d.sendOne(b)
			b = nil
		}
		if b == nil {
			if b = d.newBatch(p, k, now); b == nil {
				d.dropped(now, DropBudget, 1, p)
				continue
			}
		}
		copy(b.add(len(packet), paddedSize(len(packet), mtu), outerTOS(packet)), packet)
		b.data = true
	}
	if b != nil {
		d.sendOne(b)
	}
	p.stage.reset() // not earlier: who finds nothing waiting sends at once
}

// dropStaged drops what is staged.
func (d *Device) dropStaged(p *peer, now clock.Time, why Reason) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	if len(p.stage.all()) == 0 {
		return
	}
	d.dropped(now, why, len(p.stage.all()), p)
	for _, packet := range p.stage.all() {
		d.stageBudget.give(stagedSize(len(packet)))
	}
	p.stage.reset()
}

// reset forgets the packets; the lock is held.
func (s *stage) reset() {
	s.packets = nil
	s.n.Store(0)
}
