package routes

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// hosts maps whole addresses to routes: open addressing with linear probing, so that
// a look-up among a million costs one access to memory that no cache holds, where a
// trie costs three. Readers take no lock and see each change as one: a key is
// written before the id that shows it, and never again; a deleted one keeps its
// place until the table is rebuilt. One writer.
type hosts[K key, P any] struct {
	places []place[K, P]
	taken  int // places with a key, of a route or a deleted one
	live   int // of a route
}

// place is empty while id is 0; with an id and no owner it is a deleted one's.
type place[K key, P any] struct {
	key   K
	owner atomic.Pointer[P]
	id    atomic.Uint64
}

// key is an address.
type key interface {
	comparable
	hash() uint64
}

type key4 uint32

type key6 struct{ high, low uint64 }

// Multiples of these, 2^64 by the golden ratio and the root of 2 without its 1, are
// spread more evenly than at random by their upper bits, which are those that count
// (see slot): addresses that follow each other, or in whose upper half numbers do,
// seldom collide, and a look-up that finds its key at once waits for nothing. Who
// chooses the keys is the one who configures us, so the hash need be no secret.
const (
	golden = 0x9e3779b97f4a7c15
	root2  = 0x6a09e667f3bcc909
)

func (k key4) hash() uint64 { return uint64(k) * golden }

func (k key6) hash() uint64 { return k.low*golden + k.high*root2 }

func keyOf4(a netip.Addr) key4 {
	b := a.As4()
	return key4(binary.BigEndian.Uint32(b[:]))
}

func keyOf6(a netip.Addr) key6 {
	b := a.As16()
	return key6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// minPlaces is where a table starts; fill is the part of it, in eighths, that may be
// taken, and waste the part that must be of routes when it is shown.
const (
	minPlaces = 8
	fill      = 6
	waste     = 2
)

// slot is where hash h begins to look: any number of places will do.
func (t *hosts[K, P]) slot(h uint64) int {
	high, _ := bits.Mul64(h, uint64(len(t.places)))
	return int(high)
}

// find gives the place of k; nil if there is none.
func (t *hosts[K, P]) find(k K) *place[K, P] {
	if t == nil {
		return nil
	}
	for i := t.slot(k.hash()); ; {
		p := &t.places[i]
		if p.id.Load() == 0 {
			return nil
		}
		if p.key == k {
			return p
		}
		if i++; i == len(t.places) {
			i = 0
		}
	}
}

// get finds the owner of k; nil if there is none.
func (t *hosts[K, P]) get(k K) *P {
	if p := t.find(k); p != nil {
		return p.owner.Load()
	}
	return nil
}

// route is what k has; false if it has none. For the writer.
func (t *hosts[K, P]) route(k K) (route[P], bool) {
	if p := t.find(k); p != nil {
		if o := p.owner.Load(); o != nil {
			return route[P]{o, p.id.Load()}, true
		}
	}
	return route[P]{}, false
}

// set gives k the route r, or with no owner takes it away. There is room.
func (t *hosts[K, P]) set(k K, r route[P]) {
	p := t.find(k)
	if p == nil {
		if r.owner == nil { // nothing to take away
			return
		}
		i := t.slot(k.hash())
		for t.places[i].id.Load() != 0 {
			if i++; i == len(t.places) {
				i = 0
			}
		}
		p = &t.places[i]
		p.key = k
		t.taken++
	}
	if p.owner.Load() != nil {
		t.live--
	}
	if r.owner != nil {
		t.live++
	}
	p.owner.Store(r.owner)
	if r.owner != nil {
		p.id.Store(r.id) // last: shows a new key
	}
}

// room reports whether n more keys fit.
func (t *hosts[K, P]) room(n int) bool {
	return t != nil && (t.taken+n)*8 <= len(t.places)*fill
}

// wasteful reports that few of the places have routes.
func (t *hosts[K, P]) wasteful() bool {
	return t != nil && len(t.places) > minPlaces && t.live*8 < len(t.places)*waste
}

// size is the number of routes.
func (t *hosts[K, P]) size() int {
	if t == nil {
		return 0
	}
	return t.live
}

// bytes is the memory of the places.
func (t *hosts[K, P]) bytes() int64 {
	if t == nil {
		return 0
	}
	return int64(cap(t.places)) * int64(unsafe.Sizeof(place[K, P]{}))
}

// rebuilt is a copy without deleted keys, with room for n more and some to come.
func (t *hosts[K, P]) rebuilt(n int) *hosts[K, P] {
	size := (t.size() + n) * 8 / fill
	fresh := &hosts[K, P]{places: make([]place[K, P], max(minPlaces, size+size/8))}
	if t != nil {
		for i := range t.places {
			if p := &t.places[i]; p.owner.Load() != nil {
				fresh.set(p.key, route[P]{p.owner.Load(), p.id.Load()})
			}
		}
	}
	return fresh
}

// hostEdit is changes to a table: in a private copy, which a large edit makes, or put
// off until they are shown.
type hostEdit[K key, P any] struct {
	table *hosts[K, P]
	own   bool           // table is a private copy
	later map[K]route[P] // else: what the keys will have
}

func (e *hostEdit[K, P]) get(k K) (route[P], bool) {
	if r, ok := e.later[k]; ok {
		return r, r.owner != nil
	}
	return e.table.route(k)
}

func (e *hostEdit[K, P]) set(k K, r route[P]) {
	if e.own {
		if r.owner != nil && !e.table.room(1) {
			e.table = e.table.rebuilt(e.table.size()/2 + 1)
		}
		e.table.set(k, r)
		return
	}
	if e.later == nil {
		e.later = map[K]route[P]{}
	}
	e.later[k] = r
}

// shown is the table to be shown with the changes in it, in memory that goes with it.
// Those that were put off are made in the table that is there already, if they fit:
// each shows by itself.
func (e *hostEdit[K, P]) shown() *hosts[K, P] {
	adds := 0
	for _, r := range e.later {
		if r.owner != nil {
			adds++
		}
	}
	if adds > 0 && !e.table.room(adds) {
		e.table = e.table.rebuilt(adds)
	}
	for k, r := range e.later {
		e.table.set(k, r)
	}
	if e.table.wasteful() {
		e.table = e.table.rebuilt(0)
	}
	return e.table
}
