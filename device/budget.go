package device

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"culvert/internal/clock"
)

// budget bounds packet memory, in bytes. Nobody waits for it: what is refused is
// dropped by its owner with a reason, but by readers, who have a spare batch each.
type budget struct {
	limit int64
	used  atomic.Int64 // never above limit
}

// Default budget: a share for every core, as workers are by cores, and for every
// queue what it cannot do without.
const (
	budgetBase     = 4 << 20
	budgetPerCore  = 2 << 20
	budgetPerQueue = MinBudget // beyond the first
)

func defaultBudget(queues int) int64 {
	return budgetBase + budgetPerCore*int64(runtime.GOMAXPROCS(0)) + budgetPerQueue*int64(queues-1)
}

// MinBudget is the least budget of a device, in bytes for each TUN queue: a
// quarter is for staged packets, the rest holds a receive batch for each of two
// sockets and a few outbound arenas.
const MinBudget = 4 << 20

// What a direction is sure of for each queue, whatever the other one does: a
// receive batch for the readers of two sockets, and arenas for a reader (and its
// spare), for the controller, and for one that waits to be sent. Half of what the
// budget has beyond that is for reading ahead.
const (
	inReserve  = 2 * inBatchSize
	outReserve = 4 * outBatchSize
)

// take reserves n bytes; false if that would exceed the limit.
func (b *budget) take(n int) bool {
	for {
		used := b.used.Load()
		if used+int64(n) > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// give returns n bytes.
func (b *budget) give(n int) {
	if b.used.Add(-int64(n)) < 0 {
		panic("BUG: more packet memory returned than was taken")
	}
}

// besideBudget bounds, in bytes for a device with one queue, what there is beside
// the budget whatever the load: 4,096 handshake messages that wait for a worker
// and as many that wait to be built, 1,024 events, the buckets of the rate limiter, a
// spare batch of one slot for each of two sockets, of receiveSlots for two beside a flood and of as many small ones for two of handshakes, what the interface is read
// into, and the keepalives that go together. Peers are not packets, nor is the word
// of each that waits in starts.
const besideBudget = 8 << 20

// divide divides the budget of the device.
func (d *Device) divide() error {
	total, queues := d.opts.Budget, len(d.tun.Readers())
	if total <= 0 {
		total = defaultBudget(queues)
	}
	if least := MinBudget * int64(queues); total < least && !d.opts.anyBudget {
		return fmt.Errorf("a budget of %d bytes is too small: the least is %d", total, least)
	}
	d.stageBudget.limit = total / 4
	d.budget.limit = total - d.stageBudget.limit
	ahead := max(0, int(d.budget.limit)-queues*(inReserve+outReserve)) / 2
	d.outPool = pool[outBatch]{budget: &d.budget, size: outBatchSize, max: int(d.budget.limit) - queues*inReserve - ahead, users: queues, keep: queues,
		make: newOutBatch, drop: (*outBatch).free, short: func() { d.inPool.trim(); d.readPool.trim() }, wake: d.wantSweep}
	d.inPool = pool[inBatch]{budget: &d.budget, size: inBatchSize, max: int(d.budget.limit) - queues*outReserve - ahead, users: queues,
		make: func() *inBatch { return newInBatch(receiveSlots) }, drop: (*inBatch).free, short: func() { d.outPool.trim(); d.readPool.trim() }, wake: d.wantSweep}
	d.readPool = pool[readChunk]{budget: &d.budget, size: readChunkSize, max: ahead, users: queues,
		make: newReadChunk, drop: (*readChunk).free, short: func() {}, wake: d.wantSweep}
	return nil
}

// sweepEvery is how long an item is kept that nobody needs; up to twice that,
// as the time is not noted per item.
const sweepEvery = 2 * time.Second

// wantSweep has the controller look at the pools in a while. Nobody waits.
func (d *Device) wantSweep() {
	select {
	case d.sweeps <- struct{}{}:
	default: // it is about to, and looks at all of them
	}
}

// sweeper is when the controller sweeps the pools next; 0: nothing is kept that
// it would have to look at.
type sweeper struct{ at clock.Time }

// want is called when a pool asks for it.
func (s *sweeper) want(now clock.Time) {
	if s.at == 0 {
		s.at = now.Add(sweepEvery)
	}
}

// sweep sweeps the pools if it is time.
func (s *sweeper) sweep(d *Device, now clock.Time) {
	if s.at == 0 || now < s.at {
		return
	}
	s.at = 0
	in, out, read := d.inPool.sweep(), d.outPool.sweep(), d.readPool.sweep()
	if in || out || read {
		s.at = now.Add(sweepEvery)
	}
}
