package routes

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// Through growth, deletion and rebuilding, by small edits and large ones, a table of
// hosts is what a map is.
func TestHostsAgainstMap(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		var table Table[owner]
		truth := map[netip.Addr]*owner{}
		owners := []*owner{{name: "a"}, {name: "b"}, {name: "c"}}
		address := func() netip.Addr {
			n := r.IntN(300)
			if r.IntN(2) == 0 {
				return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
			}
			return netip.AddrFrom16([16]byte{0xfd, 7: byte(n & 3), 15: byte(n >> 2)})
		}
		for round := range 400 {
			edit := table.Edit([]int{1, 1000}[r.IntN(2)])
			growing := round/50%2 == 0
			for range r.IntN(20) {
				who, a := owners[r.IntN(3)], address()
				p := netip.PrefixFrom(a, a.BitLen())
				if growing == (r.IntN(4) > 0) {
					edit.Add(p, who, &who.list, listOf)
					truth[a] = who
				} else {
					edit.Remove(p, who, &who.list)
					if truth[a] == who {
						delete(truth, a)
					}
				}
			}
			edit.Commit()
			for range 50 {
				if a := address(); table.Lookup(a) != truth[a] {
					t.Fatalf("seed %d, round %d: %v goes to %v, not %v", seed, round, a, table.Lookup(a), truth[a])
				}
			}
			if table.Len() != len(truth) {
				t.Fatalf("seed %d, round %d: %d hosts, not %d", seed, round, table.Len(), len(truth))
			}
		}
	}
}

// A host that comes and goes ten thousand times leaves a small table.
func TestHostsDoNotGrowByChange(t *testing.T) {
	var table Table[owner]
	who := &owner{}
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		for _, add := range []bool{true, false} {
			e := table.Edit(1)
			if p := netip.PrefixFrom(a, 32); add {
				e.Add(p, who, &who.list, listOf)
			} else {
				e.Remove(p, who, &who.list)
			}
			e.Commit()
		}
	}
	if n := len(table.current.Load().hosts4.places); n > 100 {
		t.Errorf("%d places", n)
	}
}

// A large edit is made in one table of the right size, and not in one that grows.
func TestLargeEditIsMadeOnce(t *testing.T) {
	const n = 10_000
	var table Table[owner]
	who := &owner{}
	e := table.Edit(2 * n)
	v4, v6 := e.hosts4.table, e.hosts6.table
	for i := range n {
		e.Add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), who, &who.list, listOf)
		e.Add(netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)}), 128), who, &who.list, listOf)
	}
	e.Commit()
	if c := table.current.Load(); c.hosts4 != v4 || c.hosts6 != v6 || len(v4.places) > 2*n || len(v6.places) > 2*n {
		t.Errorf("made anew, or too large: %d and %d places", len(c.hosts4.places), len(c.hosts6.places))
	}
}

// Who reads while a host moves, and others come and go around it, finds one of its
// owners; and of a host that stays always the same one.
func TestHostsUnderReaders(t *testing.T) {
	var table Table[owner]
	a, b := &owner{name: "a"}, &owner{name: "b"}
	moving, staying := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	change := func(addr netip.Addr, who *owner, add bool) {
		e := table.Edit(1)
		if p := netip.PrefixFrom(addr, addr.BitLen()); add {
			e.Add(p, who, &who.list, listOf)
		} else {
			e.Remove(p, who, &who.list)
		}
		e.Commit()
	}
	change(moving, a, true)
	change(staying, b, true)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				if o := table.Lookup(moving); o != a && o != b {
					t.Error("the moving host is lost")
					return
				}
				if table.Lookup(staying) != b {
					t.Error("the staying host is lost")
					return
				}
			}
		})
	}
	for i := range 20_000 {
		change(moving, []*owner{b, a}[i%2], true)
		other := netip.AddrFrom4([4]byte{10, 1, byte(i / 7 >> 8), byte(i / 7)})
		change(other, a, i%7 < 4)
		v6 := netip.AddrFrom16([16]byte{0xfd, 14: byte(i / 5 >> 8), 15: byte(i / 5)})
		if v6 != staying {
			change(v6, b, i%5 < 3)
		}
	}
	done.Store(true)
	readers.Wait()
}

// Addresses that follow each other, in either half, seldom collide.
func TestHostsAreSpread(t *testing.T) {
	const n = 100_000
	for name, key := range map[string]func(i uint64) key6{
		"low":      func(i uint64) key6 { return key6{0xfd << 56, i} },
		"high":     func(i uint64) key6 { return key6{0xfd<<56 | i, 1} },
		"networks": func(i uint64) key6 { return key6{0x20010db8<<32 | i<<8, 0} },
	} {
		h := (*hosts[key6, owner])(nil).rebuilt(n)
		for i := range uint64(n) {
			h.set(key(i), route[owner]{&owner{}, 1})
		}
		moved := 0
		for i := range h.places {
			if p := &h.places[i]; p.id.Load() != 0 {
				moved += (i - h.slot(p.key.hash()) + len(h.places)) % len(h.places)
			}
		}
		if moved > n {
			t.Errorf("%s: %d places from where they begin, for %d keys", name, moved, n)
		}
	}
}

func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		owners := make([]owner, n)
		var table Table[owner]
		e := table.Edit(2 * n)
		address := map[string]func(i int) netip.Addr{
			"v4": func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) },
			"v6": func(i int) netip.Addr {
				return netip.AddrFrom16([16]byte{0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
			},
		}
		for i := range n {
			for _, a := range address {
				e.Add(netip.PrefixFrom(a(i), a(i).BitLen()), &owners[i], &owners[i].list, listOf)
			}
		}
		e.Commit()
		for _, family := range []string{"v4", "v6"} {
			asked := make([]netip.Addr, 1<<20) // at random, in the order they come
			for i := range asked {
				asked[i] = address[family](rand.IntN(n))
			}
			b.Run(fmt.Sprint(family, "/", n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if table.Lookup(asked[i&(1<<20-1)]) == nil {
						b.Fatal("lost")
					}
				}
			})
		}
	}
}
