package device

import (
	"sync"
	"unsafe"
)

// sequence restores order: items are emitted in the order they were pushed, by
// one goroutine at a time, which exists only while there are items. The order
// is a place in the queue, taken when the item's turn is decided, not a lock
// held while it is worked on. Its mutex is held for a few instructions per
// batch. The zero value is ready.
type sequence[T any] struct {
	mu      sync.Mutex
	running bool
	waits   *waitingItems[T] // nil: nothing waits, and nobody
}

// waitingItems are made when something has to wait for the first time.
type waitingItems[T any] struct {
	queue []place[T]
	head  int
	room  chan struct{} // closed for who waits for room when an item or a term has gone; nil: nobody waits
}

// place is an item's in the queue, or that of somebody who waits for his turn to be the emitter.
type place[T any] struct {
	item T
	turn chan struct{} // closed when it is his; nil: an item's
}

// maxIdleQueue is the capacity a dry queue keeps.
const maxIdleQueue = 16

// needed makes the place for what waits; the lock is held.
func (s *sequence[T]) needed() *waitingItems[T] {
	if s.waits == nil {
		s.waits = new(waitingItems[T])
	}
	return s.waits
}

// len is the number of items that wait, and of those who wait for their turn; the lock is held.
func (s *sequence[T]) len() int {
	if s.waits == nil {
		return 0
	}
	return len(s.waits.queue) - s.waits.head
}

// bytes is what the place takes.
func (s *sequence[T]) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		return 0
	}
	return heapSize[waitingItems[T]]() + int64(cap(s.waits.queue))*int64(unsafe.Sizeof(place[T]{}))
}

// trim gives the place back if nothing waits.
func (s *sequence[T]) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running && s.len() == 0 && s.waits != nil && s.waits.room == nil {
		s.waits = nil
	}
}

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

// enterWaiting is enter that waits for its turn, which comes after what was pushed before
// and no later, however much others push. The emitter must never wait for the caller.
func (s *sequence[T]) enterWaiting() {
	s.mu.Lock()
	if !s.running {
		s.running = true
		s.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	s.append(place[T]{turn: turn})
	s.mu.Unlock()
	<-turn
}

// leave ends the caller's term if nothing waits. If more is true it is still
// the emitter, and must see to it that some goroutine calls next until dry.
func (s *sequence[T]) leave() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = s.len() > 0
	s.wake()
	return s.running
}

// push appends x. If start is true the caller must see to it that some
// goroutine calls next until dry.
func (s *sequence[T]) push(x T) (start bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(place[T]{item: x})
}

// pushWithin is push that waits while limit items wait, so that who pushes
// slows down to the emitter's pace. The emitter must never wait for the caller.
func (s *sequence[T]) pushWithin(limit int, x T) (start bool) {
	for {
		s.mu.Lock()
		if s.len() < limit {
			start = s.append(place[T]{item: x})
			s.mu.Unlock()
			return start
		}
		s.wait()
	}
}

// wait waits until something changes; it is called with the lock held, and lets
// go of it.
func (s *sequence[T]) wait() {
	w := s.needed()
	if w.room == nil {
		w.room = make(chan struct{})
	}
	room := w.room
	s.mu.Unlock()
	<-room
}

// wake wakes who waits; the lock is held.
func (s *sequence[T]) wake() {
	if w := s.waits; w != nil && w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// append is push; the lock is held. Places that are free again are used before
// the queue grows: under lasting load it never runs dry.
func (s *sequence[T]) append(x place[T]) (start bool) {
	w := s.needed()
	if w.head > 0 && len(w.queue) == cap(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, x)
	start = !s.running
	s.running = true
	return start
}

// next gives the emitter its next item; false ends its term: nothing is left, or it is the turn
// of somebody who waits for it, and the rest is his.
func (s *sequence[T]) next() (x T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
	w := s.waits
	if s.len() == 0 {
		s.running = false
		if w != nil && cap(w.queue) > maxIdleQueue {
			s.waits = nil
		} else if w != nil {
			w.queue, w.head = w.queue[:0], 0
		}
		return x, false
	}
	first := w.queue[w.head]
	w.queue[w.head] = place[T]{}
	w.head++
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	if first.turn != nil {
		close(first.turn)
		return x, false
	}
	return first.item, true
}

// waiting is len, for others.
func (s *sequence[T]) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.len()
}
