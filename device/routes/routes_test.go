package routes

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

type owner struct {
	name string
	list List
}

func listOf(o *owner) *List { return &o.list }

// oracle is the slow truth: every route in the order it was added.
type oracle []struct {
	prefix netip.Prefix
	owner  *owner
}

func (o *oracle) remove(p netip.Prefix, who *owner) {
	*o = slices.DeleteFunc(*o, func(r struct {
		prefix netip.Prefix
		owner  *owner
	}) bool {
		return (who == nil || r.owner == who) && (!p.IsValid() || r.prefix == p)
	})
}

func (o *oracle) add(p netip.Prefix, who *owner) {
	for _, r := range *o {
		if r.prefix == p && r.owner == who {
			return
		}
	}
	o.remove(p, nil)
	*o = append(*o, struct {
		prefix netip.Prefix
		owner  *owner
	}{p, who})
}

func (o oracle) lookup(a netip.Addr) (best *owner) {
	bits := -1
	for _, r := range o {
		if r.prefix.Contains(a) && r.prefix.Bits() > bits {
			best, bits = r.owner, r.prefix.Bits()
		}
	}
	return best
}

func (o oracle) of(who *owner) (all []netip.Prefix) {
	for _, r := range o {
		if r.owner == who {
			all = append(all, r.prefix)
		}
	}
	return all
}

// randomPrefix is short of bits, so that prefixes nest and meet.
func randomPrefix(r *rand.Rand) netip.Prefix {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(r.IntN(2)) << 7
	}
	if r.IntN(2) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(raw[:4])), r.IntN(33)).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), r.IntN(5)*32).Masked()
}

// After any operations, alone or many in one edit, look-ups and lists are those
// of a slow oracle.
func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		var table Table[owner]
		var truth oracle
		owners := []*owner{{name: "a"}, {name: "b"}, {name: "c"}}
		for range 60 {
			edit := table.Edit([]int{1, 100}[r.IntN(2)])
			for range 1 + r.IntN(8) {
				who, p := owners[r.IntN(3)], randomPrefix(r)
				switch n := r.IntN(20); {
				case n < 14:
					edit.Add(p, who, &who.list, listOf)
					truth.add(p, who)
				case n < 19:
					edit.Remove(p, who, &who.list)
					truth.remove(p, who)
				default:
					edit.Clear(who, &who.list)
					truth.remove(netip.Prefix{}, who)
				}
			}
			edit.Commit()
			for range 20 {
				a := randomPrefix(r).Addr()
				if got, want := table.Lookup(a), truth.lookup(a); got != want {
					t.Fatalf("seed %d: %v goes to %v, not %v", seed, a, got, want)
				}
			}
			for _, who := range owners {
				if got, want := table.Prefixes(who, &who.list, nil), truth.of(who); !slices.Equal(got, want) {
					t.Fatalf("seed %d: %s has %v, not %v", seed, who.name, got, want)
				}
			}
			if table.Len() != len(truth) {
				t.Fatalf("seed %d: %d prefixes, not %d", seed, table.Len(), len(truth))
			}
		}
	}
}

// A prefix that goes back and forth does not make the lists grow.
func TestMovingKeepsListsSmall(t *testing.T) {
	var table Table[owner]
	a, b := &owner{name: "a"}, &owner{name: "b"}
	p := netip.MustParsePrefix("10.0.0.0/8")
	for range 10_000 {
		for _, who := range []*owner{a, b} {
			e := table.Edit(1)
			e.Add(p, who, &who.list, listOf)
			e.Commit()
		}
	}
	if n := len(a.list.entries) + len(b.list.entries); n > 80 {
		t.Fatalf("the lists have %d entries for one prefix", n)
	}
	if got := table.Prefixes(b, &b.list, nil); !slices.Equal(got, []netip.Prefix{p}) {
		t.Fatalf("b has %v", got)
	}
}

// Readers see all of an edit or nothing of it, and none before Commit.
func TestCommitIsAtomic(t *testing.T) {
	var table Table[owner]
	a := &owner{name: "a"}
	edit := table.Edit(2)
	edit.Add(netip.MustParsePrefix("10.0.0.0/8"), a, &a.list, listOf)
	if table.Lookup(netip.MustParseAddr("10.1.1.1")) != nil {
		t.Fatal("a route shows before Commit")
	}
	edit.Commit()
	if table.Lookup(netip.MustParseAddr("10.1.1.1")) != a {
		t.Fatal("a route does not show after Commit")
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		var table Table[owner]
		who := &owner{}
		e := table.Edit(n)
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			e.Add(netip.PrefixFrom(a, 32), who, &who.list, listOf)
		}
		e.Commit()
		b.Run(map[bool]string{true: "1k", false: "1M"}[n == 1000], func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x := i * 7919 % n
				if table.Lookup(netip.AddrFrom4([4]byte{10, byte(x >> 16), byte(x >> 8), byte(x)})) == nil {
					b.Fatal("lost")
				}
			}
		})
	}
}
