package device

import (
	"slices"
	"sync"
)

// pool keeps items of one size for use again until they were not needed for a
// while, or others need the memory. Every item in use or kept counts against
// the budget. Its mutex is held for a few instructions per batch. Safe for
// concurrent use.
type pool[T any] struct {
	budget *budget
	size   int       // bytes per item
	max    int       // bytes of all items
	users  int       // goroutines that take an item when they have handed on the one before
	keep   int       // with so many free items or less nobody is woken to look at them
	make   func() *T // nil: the system has no memory
	drop   func(*T)  // gives an item's memory back to the system
	short  func()    // lets go of what others keep
	wake   func()    // sees to it that sweep is called, now and then, until it returns false

	mu      sync.Mutex
	free    []*T // the last one was used last
	low     int  // the fewest there were since the last sweep
	watched bool // sweep will be called
	out     int  // items in use, or about to be
}

// get gives an item, nil when the budget is used up.
func (p *pool[T]) get() *T {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		x := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		p.low = min(p.low, n-1)
		p.out++
		p.mu.Unlock()
		return x
	}
	if p.spent() {
		p.mu.Unlock()
		return nil
	}
	p.out++
	p.mu.Unlock()
	x := p.fresh()
	if x == nil {
		p.mu.Lock()
		p.out--
		p.mu.Unlock()
	}
	return x
}

// fresh makes an item.
func (p *pool[T]) fresh() *T {
	if !p.budget.take(p.size) {
		p.short()
		if !p.budget.take(p.size) {
			return nil
		}
	}
	x := p.make()
	if x == nil {
		p.budget.give(p.size)
	}
	return x
}

// spent reports whether there may be no more items; the lock is held.
func (p *pool[T]) spent() bool { return (p.out+len(p.free)+1)*p.size > p.max }

// scarce reports whether there may not be another item for everybody who takes
// them: who holds one had better be done with it than hand it over.
func (p *pool[T]) scarce() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	more := min(p.max/p.size-p.out-len(p.free), int(p.budget.limit-p.budget.used.Load())/p.size)
	return len(p.free)+more < p.users
}

// put takes an item back.
func (p *pool[T]) put(x *T) {
	p.mu.Lock()
	p.out--
	p.free = append(p.free, x)
	wake := !p.watched && len(p.free) > p.keep
	if wake {
		p.watched, p.low = true, len(p.free)
	}
	p.mu.Unlock()
	if wake {
		p.wake()
	}
}

// sweep lets go of the items that nobody needed since the last sweep. If more
// is true it is to be called again in a while.
func (p *pool[T]) sweep() (more bool) {
	p.mu.Lock()
	old := p.oldest(p.low)
	p.low = len(p.free)
	p.watched = len(p.free) > p.keep
	more = p.watched
	p.mu.Unlock()
	p.letGo(old)
	return more
}

// trim lets go of all that is kept.
func (p *pool[T]) trim() {
	p.mu.Lock()
	old := p.oldest(len(p.free))
	p.low = 0
	p.mu.Unlock()
	p.letGo(old)
}

// oldest takes the n free items that were not used for longest out of the pool;
// the lock is held.
func (p *pool[T]) oldest(n int) []*T {
	old := slices.Clone(p.free[:n])
	p.free = slices.Delete(p.free, 0, n)
	return old
}

// letGo gives the memory of items back to the system.
func (p *pool[T]) letGo(old []*T) {
	for _, x := range old {
		p.drop(x)
		p.budget.give(p.size)
	}
}

// inUse is the number of items that were not put back.
func (p *pool[T]) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}
