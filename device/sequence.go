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
	room    chan struct{} // closed for who waits when an item or a term has gone; nil: nobody waits
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

// enterWaiting is enter that waits for its turn. The emitter must never wait for
// the caller.
func (s *sequence[T]) enterWaiting() {
	for !s.enter() {
		s.mu.Lock()
		if !s.running {
			s.mu.Unlock()
			continue
		}
		s.wait()
	}
}

// leave ends the caller's term if nothing waits. If more is true it is still
// the emitter, and must see to it that some goroutine calls next until dry.
func (s *sequence[T]) leave() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = s.head < len(s.queue)
	s.wake()
	return s.running
}

// push appends x. If start is true the caller must see to it that some
// goroutine calls next until dry.
func (s *sequence[T]) push(x T) (start bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(x)
}

// pushWithin is push that waits while limit items wait, so that who pushes
// slows down to the emitter's pace. The emitter must never wait for the caller.
func (s *sequence[T]) pushWithin(limit int, x T) (start bool) {
	for {
		s.mu.Lock()
		if len(s.queue)-s.head < limit {
			start = s.append(x)
			s.mu.Unlock()
			return start
		}
		s.wait()
	}
}

// wait waits until something changes; it is called with the lock held, and lets
// go of it.
func (s *sequence[T]) wait() {
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	<-room
}

// wake wakes who waits; the lock is held.
func (s *sequence[T]) wake() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// append is push; the lock is held. Places that are free again are used before
// the queue grows: under lasting load it never runs dry.
func (s *sequence[T]) append(x T) (start bool) {
	if s.head > 0 && len(s.queue) == cap(s.queue) {
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	s.queue = append(s.queue, x)
	start = !s.running
	s.running = true
	return start
}

// next gives the emitter its next item; false ends its term.
func (s *sequence[T]) next() (x T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
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
