package device

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// budget bounds all packet memory of a device, in bytes. What is refused is
// dropped by its owner with a reason; nobody waits.
type budget struct {
	limit int64
	used  atomic.Int64
}

// Default budget: a share for every core, and what the readers hold anyway: the
// two of sockets that go with a TUN queue have a receive batch of 2 MiB each in
// hand, of the three quarters that are not for staged packets.
const (
	budgetBase     = 8 << 20
	budgetPerCore  = 4 << 20
	budgetPerQueue = 6 << 20 // beyond the first
)

func defaultBudget(queues int) int64 {
	return budgetBase + budgetPerCore*int64(runtime.GOMAXPROCS(0)) + budgetPerQueue*int64(queues-1)
}

// take reserves n bytes; false if that would exceed the limit.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// give returns n bytes.
func (b *budget) give(n int) {
	if b.used.Add(-int64(n)) < 0 {
		panic("BUG: more packet memory returned than was taken")
	}
}

// pool keeps a few items of one size for use again. Items beyond keep go back
// to the garbage collector; every item in use or kept counts against the
// budget. Its mutex is held for a few instructions per batch.
type pool[T any] struct {
	budget *budget
	size   int // bytes per item
	keep   int
	make   func() *T

	mu   sync.Mutex
	free []*T
	out  int // items in use; for leak checks
}

// get gives an item, nil when the budget is used up.
func (p *pool[T]) get() *T {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		x := p.free[n-1]
		p.free = p.free[:n-1]
		p.out++
		p.mu.Unlock()
		return x
	}
	p.mu.Unlock()
	if !p.budget.take(p.size) {
		return nil
	}
	p.mu.Lock()
	p.out++
	p.mu.Unlock()
	return p.make()
}

// put takes an item back.
func (p *pool[T]) put(x *T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out--
	if len(p.free) < p.keep {
		p.free = append(p.free, x)
		return
	}
	p.budget.give(p.size)
}

// inUse is the number of items that were not put back.
func (p *pool[T]) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}

// trim lets go of what is kept.
func (p *pool[T]) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget.give(p.size * len(p.free))
	clear(p.free)
	p.free = p.free[:0]
}
