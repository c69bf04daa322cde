// Package routes maps addresses to peers by the longest matching prefix of
// their allowed IPs. Readers take no lock; one writer changes the table.
//
// The trie is github.com/gaissmai/bart: popcount-compressed, about 27 bytes a
// prefix, look-ups in tens of nanoseconds, and a persistent (copy-on-write)
// insert, which is what lock-free readers need. What this package adds is who
// owns a prefix, and each owner's prefixes in the order they were added.
package routes

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Table is the table of one device. P is the peer. The zero value is empty and
// ready. Lookup is safe for concurrent use; all else is for the one writer.
type Table[P any] struct {
	current atomic.Pointer[bart.Table[route[P]]]
	next    uint64 // id of the next route
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
	if table := t.current.Load(); table != nil {
		if r, ok := table.Lookup(addr); ok {
			return r.owner
		}
	}
	return nil
}

// Len is the number of prefixes.
func (t *Table[P]) Len() int {
	if table := t.current.Load(); table != nil {
		return table.Size()
	}
	return 0
}

// An Edit is a set of changes that readers see all at once.
type Edit[P any] struct {
	t     *Table[P]
	table *bart.Table[route[P]]
	// own: table is a private copy and may be changed in place; else every
	// change makes a new table that shares all but one path with the old.
	own bool
}

// cloneAt is the share of the table from which on copying it whole is cheaper
// than copying a path per change (a path copy costs about 3 us, a clone about
// 0.05 us per prefix).
const cloneAt = 1.0 / 64

// Edit begins a set of about n changes. Nothing shows before Commit.
func (t *Table[P]) Edit(n int) *Edit[P] {
	table := t.current.Load()
	switch {
	case table == nil:
		return &Edit[P]{t, new(bart.Table[route[P]]), true}
	case float64(n) >= cloneAt*float64(table.Size()) && n > 1:
		return &Edit[P]{t, table.Clone(), true}
	}
	return &Edit[P]{t, table, false}
}

// Commit shows the changes to readers.
func (e *Edit[P]) Commit() { e.t.current.Store(e.table) }

// Add gives prefix (masked) to owner, whose list is l, and takes it from
// whoever has it, whose list other gives.
func (e *Edit[P]) Add(prefix netip.Prefix, owner *P, l *List, other func(*P) *List) {
	old, taken := e.table.Get(prefix)
	if taken && old.owner == owner {
		return
	}
	e.t.next++
	r := route[P]{owner, e.t.next}
	if e.own {
		e.table.Insert(prefix, r)
	} else {
		e.table = e.table.InsertPersist(prefix, r)
	}
	l.entries = append(l.entries, newEntry(prefix, r.id))
	if taken {
		lose(e, other(old.owner), old.owner)
	}
}

// Remove takes prefix (masked) from owner; from anybody else it takes nothing.
func (e *Edit[P]) Remove(prefix netip.Prefix, owner *P, l *List) {
	if old, ok := e.table.Get(prefix); ok && old.owner == owner {
		e.delete(prefix)
		lose(e, l, owner)
	}
}

// Clear takes every prefix from owner.
func (e *Edit[P]) Clear(owner *P, l *List) {
	for _, x := range l.entries {
		if e.holds(owner, x) {
			e.delete(x.prefix())
		}
	}
	*l = List{}
}

func (e *Edit[P]) delete(prefix netip.Prefix) {
	if e.own {
		e.table.Delete(prefix)
	} else {
		e.table = e.table.DeletePersist(prefix)
	}
}

func (e *Edit[P]) holds(owner *P, x entry) bool {
	r, ok := e.table.Get(x.prefix())
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
	table := t.current.Load()
	if table == nil {
		return dst
	}
	for _, x := range l.entries {
		p := x.prefix()
		if r, ok := table.Get(p); ok && r.owner == owner && r.id == x.id() {
			dst = append(dst, p)
		}
	}
	return dst
}
