package device

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
)

// indexTable maps the receiver indices we chose to what they stand for: a
// keypair, or a handshake of ours that waits for its response. Indices are
// random and unused. Look-ups take no lock; writers (handshake workers and the
// controller) share a mutex.
type indexTable struct {
	mu      sync.Mutex
	n       int
	buckets atomic.Pointer[[]atomic.Pointer[indexEntry]]
}

// indexEntry is one index in use. Its meaning changes, its index does not.
type indexEntry struct {
	index   uint32
	keypair atomic.Pointer[keypair]
	pending atomic.Pointer[pending]
	next    atomic.Pointer[indexEntry]
}

// minBuckets keeps a small table from being rebuilt for every session.
const minBuckets = 64

// get finds an index; nil if it is not in use.
func (t *indexTable) get(index uint32) *indexEntry {
	b := t.buckets.Load()
	if b == nil {
		return nil
	}
	e := (*b)[index&uint32(len(*b)-1)].Load()
	for e != nil && e.index != index {
		e = e.next.Load()
	}
	return e
}

// reserve takes a random index that is not in use.
func (t *indexTable) reserve(rand io.Reader) (uint32, error) {
	var raw [4]byte
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if _, err := io.ReadFull(rand, raw[:]); err != nil {
			return 0, err
		}
		index := binary.LittleEndian.Uint32(raw[:])
		if t.get(index) == nil {
			t.insert(&indexEntry{index: index})
			return index, nil
		}
	}
}

// insert puts e at the head of its bucket. The mutex is held.
func (t *indexTable) insert(e *indexEntry) {
	b := t.buckets.Load()
	if b == nil || t.n >= len(*b) {
		b = t.resize(max(minBuckets, 2*t.n))
	}
	slot := &(*b)[e.index&uint32(len(*b)-1)]
	e.next.Store(slot.Load())
	slot.Store(e)
	t.n++
}

// release frees an index. Spurious calls are safe.
func (t *indexTable) release(index uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buckets.Load()
	if b == nil {
		return
	}
	link := &(*b)[index&uint32(len(*b)-1)]
	for e := link.Load(); e != nil; e = link.Load() {
		if e.index == index {
			link.Store(e.next.Load())
			e.keypair.Store(nil)
			e.pending.Store(nil)
			t.n--
			if len(*b) > minBuckets && t.n < len(*b)/8 {
				t.resize(len(*b) / 4)
			}
			return
		}
		link = &e.next
	}
}

// resize rebuilds the table with n buckets (a power of two). Readers of the old
// buckets go on undisturbed: the entries they hold are copied, not moved, and
// what a copy stands for never changes while the mutex is held.
func (t *indexTable) resize(n int) *[]atomic.Pointer[indexEntry] {
	size := minBuckets
	for size < n {
		size *= 2
	}
	fresh := make([]atomic.Pointer[indexEntry], size)
	if old := t.buckets.Load(); old != nil {
		for i := range *old {
			for e := (*old)[i].Load(); e != nil; e = e.next.Load() {
				c := &indexEntry{index: e.index}
				c.keypair.Store(e.keypair.Load())
				c.pending.Store(e.pending.Load())
				slot := &fresh[c.index&uint32(size-1)]
				c.next.Store(slot.Load())
				slot.Store(c)
			}
		}
	}
	t.buckets.Store(&fresh)
	return &fresh
}

// setPending and setKeypair say what a reserved index stands for.
func (t *indexTable) setPending(index uint32, h *pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.get(index); e != nil {
		e.pending.Store(h)
	}
}

func (t *indexTable) setKeypair(index uint32, k *keypair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.get(index)
	if e == nil {
		e = &indexEntry{index: index}
		t.insert(e)
	}
	e.pending.Store(nil)
	e.keypair.Store(k)
}

// hide has k found no more; its index stays in use until it is released.
func (t *indexTable) hide(k *keypair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.get(k.keys.LocalIndex); e != nil {
		e.keypair.CompareAndSwap(k, nil)
	}
}

// len is the number of indices in use.
func (t *indexTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// size is the number of indices in use, and of buckets.
func (t *indexTable) size() (indices, buckets int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.buckets.Load(); b != nil {
		buckets = len(*b)
	}
	return t.n, buckets
}
