// Package routes maps addresses to peers by the longest matching prefix of
// their allowed IPs. Readers take no lock; one writer changes the table.
//
// Whole addresses, which are nearly all that a million peers have, are in hash
// tables of our own (hosts.go): nothing is longer, so one that is found is the answer.
// Other prefixes are in a trie, github.com/gaissmai/bart: popcount-compressed, and
// with a persistent (copy-on-write) insert, which is what lock-free readers need. What
// this package adds is who owns a prefix, and each owner's prefixes in the order they
// were added.
package routes

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/gaissmai/bart"
)

// Table is the table of one device. P is the peer. The zero value is empty and
// ready. Lookup is safe for concurrent use; all else is for the one writer.
type Table[P any] struct {
	current atomic.Pointer[tables[P]]
	next    uint64 // id of the next route
}

// tables are what readers see.
type tables[P any] struct {
	hosts4 *hosts[key4, P] // nil: none
	hosts6 *hosts[key6, P]
	trie   *bart.Table[route[P]] // nil: none
}

// route is who owns a prefix. The id tells whether an entry of the owner's list
// is this very route, or one that was lost since.
type route[P any] struct {
	owner *P
	id    uint64
}

// List is the prefixes of one owner in the order they were added. Entries
// another owner has taken since are skipped, and dropped when they are many,
// so that moving a prefix never searches a list. The zero value is empty.
type List struct {
	entries []entry
	lost    int
}

// entry is a prefix and the id of its route, without pointers and in 24 bytes, of which
// a million owners have some.
type entry struct {
	high, low uint64 // of the address; an IPv4 one is in low
	rest      uint64 // id << 16, IPv4 or not << 8, length of the prefix
}

func newEntry(p netip.Prefix, id uint64) entry {
	e := entry{rest: id<<16 | uint64(uint8(p.Bits()))}
	if a := p.Addr(); a.Is4() {
		b := a.As4()
		e.low, e.rest = uint64(binary.BigEndian.Uint32(b[:])), e.rest|1<<8
	} else {
		b := a.As16()
		e.high, e.low = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	}
	return e
}

func (e *entry) id() uint64 { return e.rest >> 16 }

func (e *entry) prefix() netip.Prefix {
	bits := int(uint8(e.rest))
	if e.rest>>8&1 != 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(e.low))
		return netip.PrefixFrom(netip.AddrFrom4(b), bits)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], e.high)
	binary.BigEndian.PutUint64(b[8:], e.low)
	return netip.PrefixFrom(netip.AddrFrom16(b), bits)
}

// Lookup gives the owner of the longest prefix that holds addr, nil if none.
func (t *Table[P]) Lookup(addr netip.Addr) *P {
	c := t.current.Load()
	if c == nil {
		return nil
	}
	if addr.Is4() {
		if o := c.hosts4.get(keyOf4(addr)); o != nil {
			return o
		}
	} else if c.hosts6 != nil {
		if o := c.hosts6.get(keyOf6(addr)); o != nil {
			return o
		}
	}
	if c.trie != nil {
		if r, ok := c.trie.Lookup(addr); ok {
			return r.owner
		}
	}
	return nil
}

// Len is the number of prefixes.
func (t *Table[P]) Len() int {
	c := t.current.Load()
	if c == nil {
		return 0
	}
	return c.hosts4.size() + c.hosts6.size() + size(c.trie)
}

// Bytes is the memory that whole addresses have in the table.
func (t *Table[P]) Bytes() int64 {
	c := t.current.Load()
	if c == nil {
		return 0
	}
	return c.hosts4.bytes() + c.hosts6.bytes()
}

// Bytes is the memory of the list.
func (l *List) Bytes() int64 { return int64(cap(l.entries)) * int64(unsafe.Sizeof(entry{})) }

func size[P any](trie *bart.Table[route[P]]) int {
	if trie == nil {
		return 0
	}
	return trie.Size()
}

// An Edit is a set of changes. Readers see all of a large one at once; of one of few
// changes each prefix by itself, in any order.
type Edit[P any] struct {
	t      *Table[P]
	hosts4 hostEdit[key4, P]
	hosts6 hostEdit[key6, P]
	trie   *bart.Table[route[P]]
	// own: trie is a private copy and may be changed in place; else every
	// change makes a new table that shares all but one path with the old.
	own bool
}

// cloneAt is the share of the table from which on copying it whole is cheaper
// than copying a path per change (a path copy costs about 3 us, a clone about
// 0.05 us per prefix).
const cloneAt = 1.0 / 64

// Edit begins a set of about n changes. Nothing shows before Commit.
func (t *Table[P]) Edit(n int) *Edit[P] {
	e := &Edit[P]{t: t}
	c := t.current.Load()
	if c == nil {
		c = &tables[P]{}
	}
	e.hosts4.table, e.hosts6.table, e.trie = c.hosts4, c.hosts6, c.trie
	large := n > 1 && float64(n) >= cloneAt*float64(t.Len())
	if large { // as if half of it were for each
		e.hosts4 = hostEdit[key4, P]{table: c.hosts4.rebuilt(max(0, n/2-c.hosts4.size())), own: true}
		e.hosts6 = hostEdit[key6, P]{table: c.hosts6.rebuilt(max(0, n/2-c.hosts6.size())), own: true}
	}
	if e.trie == nil {
		e.trie, e.own = new(bart.Table[route[P]]), true
	} else if large {
		e.trie, e.own = c.trie.Clone(), true
	}
	return e
}

// Commit shows the changes to readers.
func (e *Edit[P]) Commit() {
	e.t.current.Store(&tables[P]{e.hosts4.shown(), e.hosts6.shown(), e.trie})
}

// get is what prefix has; false if it has nothing.
func (e *Edit[P]) get(prefix netip.Prefix) (route[P], bool) {
	switch a := prefix.Addr(); {
	case !prefix.IsSingleIP():
		return e.trie.Get(prefix)
	case a.Is4():
		return e.hosts4.get(keyOf4(a))
	default:
		return e.hosts6.get(keyOf6(a))
	}
}

// set gives prefix the route r; without an owner it takes it away.
func (e *Edit[P]) set(prefix netip.Prefix, r route[P]) {
	switch a := prefix.Addr(); {
	case prefix.IsSingleIP() && a.Is4():
		e.hosts4.set(keyOf4(a), r)
	case prefix.IsSingleIP():
		e.hosts6.set(keyOf6(a), r)
	case r.owner == nil && e.own:
		e.trie.Delete(prefix)
	case r.owner == nil:
		e.trie = e.trie.DeletePersist(prefix)
	case e.own:
		e.trie.Insert(prefix, r)
	default:
		e.trie = e.trie.InsertPersist(prefix, r)
	}
}

// Add gives prefix (masked) to owner, whose list is l, and takes it from
// whoever has it, whose list other gives.
func (e *Edit[P]) Add(prefix netip.Prefix, owner *P, l *List, other func(*P) *List) {
	old, taken := e.get(prefix)
	if taken && old.owner == owner {
		return
	}
	e.t.next++
	r := route[P]{owner, e.t.next}
	e.set(prefix, r)
	l.entries = append(l.entries, newEntry(prefix, r.id))
	if taken {
		lose(e, other(old.owner), old.owner)
	}
}

// Remove takes prefix (masked) from owner; from anybody else it takes nothing.
func (e *Edit[P]) Remove(prefix netip.Prefix, owner *P, l *List) {
	if old, ok := e.get(prefix); ok && old.owner == owner {
		e.set(prefix, route[P]{})
		lose(e, l, owner)
	}
}

// Clear takes every prefix from owner.
func (e *Edit[P]) Clear(owner *P, l *List) {
	for _, x := range l.entries {
		if e.holds(owner, x) {
			e.set(x.prefix(), route[P]{})
		}
	}
	*l = List{}
}

func (e *Edit[P]) holds(owner *P, x entry) bool {
	r, ok := e.get(x.prefix())
	return ok && r.owner == owner && r.id == x.id()
}

// lose notes that an entry of l is no longer its owner's, and drops such
// entries once they are half of the list: amortised, O(1) a change.
func lose[P any](e *Edit[P], l *List, owner *P) {
	l.lost++
	if l.lost <= 16 || l.lost*2 < len(l.entries) {
		return
	}
	kept := make([]entry, 0, max(0, len(l.entries)-l.lost))
	for _, x := range l.entries {
		if e.holds(owner, x) {
			kept = append(kept, x)
		}
	}
	*l = List{entries: kept}
}

// Prefixes appends the prefixes of owner to dst, in the order they were added.
func (t *Table[P]) Prefixes(owner *P, l *List, dst []netip.Prefix) []netip.Prefix {
	c := t.current.Load()
	if c == nil {
		return dst
	}
	for _, x := range l.entries {
		p := x.prefix()
		if r, ok := c.get(p); ok && r.owner == owner && r.id == x.id() {
			dst = append(dst, p)
		}
	}
	return dst
}

// get is what prefix has; false if it has nothing.
func (c *tables[P]) get(prefix netip.Prefix) (route[P], bool) {
	switch a := prefix.Addr(); {
	case prefix.IsSingleIP() && a.Is4():
		return c.hosts4.route(keyOf4(a))
	case prefix.IsSingleIP():
		return c.hosts6.route(keyOf6(a))
	case c.trie != nil:
		return c.trie.Get(prefix)
	}
	return route[P]{}, false
}
