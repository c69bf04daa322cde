package device

import "sync"

// sequence restores order: items are emitted in the order they were pushed, by
// one goroutine at a time, which exists only while there are items. The order
// is a place in the queue, taken when the item's turn is decided, not a lock
// held while it is worked on. Its mutex is held for a few instructions per
// batch. The zero value is ready.
type sequence[T any] struct {
	mu      sync.Mutex
	running bool
	queue   []T
	head    int
}

// maxIdleQueue is the capacity a dry queue keeps.
const maxIdleQueue = 16

// enter makes the caller the emitter if nobody is and nothing waits: it may
// then emit an item that it never pushed, and must call next until dry.
func (s *sequence[T]) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return false
	}
	s.running = true
	return true
}

// push appends x. If start is true the caller must see to it that some
// goroutine calls next until dry.
func (s *sequence[T]) push(x T) (start bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, x)
	start = !s.running
	s.running = true
	return start
}

// next gives the emitter its next item; false ends its term.
func (s *sequence[T]) next() (x T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.queue) {
		s.running, s.head = false, 0
		if cap(s.queue) > maxIdleQueue {
			s.queue = nil
		} else {
			s.queue = s.queue[:0]
		}
		return x, false
	}
	var zero T
	x, s.queue[s.head] = s.queue[s.head], zero
	s.head++
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	}
	return x, true
}

// waiting is the number of items not yet taken by the emitter.
func (s *sequence[T]) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) - s.head
}
