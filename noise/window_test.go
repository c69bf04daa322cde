package noise

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// oracle is a replay window that forgets nothing.
type oracle struct {
	seen     map[uint64]bool
	greatest uint64
}

func (o *oracle) accept(c uint64) bool {
	if c >= RejectAfterMessages || o.seen[c] || o.greatest > c && o.greatest-c > 8128 {
		return false
	}
	if o.seen == nil {
		o.seen = make(map[uint64]bool)
	}
	o.seen[c] = true
	o.greatest = max(o.greatest, c)
	return true
}

func TestWindowTable(t *testing.T) {
	const top = RejectAfterMessages
	if uint64(top) != 0xffffffffffffe03e { // 2^64-1-8128-1
		t.Errorf("RejectAfterMessages is %#x", uint64(top))
	}
	type step struct {
		counter uint64
		want    bool
	}
	for name, steps := range map[string][]step{
		"twice":            {{0, true}, {0, false}, {1, true}, {1, false}, {0, false}},
		"first is great":   {{1 << 40, true}, {1<<40 - 8128, true}, {1<<40 - 8129, false}, {1 << 40, false}},
		"backwards":        {{9, true}, {8, true}, {7, true}, {0, true}, {8, false}, {0, false}},
		"the edge":         {{8128, true}, {0, true}, {8129, true}, {0, false}, {1, true}, {8130, true}, {1, false}},
		"the edge, shut":   {{8129, true}, {0, false}, {1, true}},
		"just one ring on": {{0, true}, {8192, true}, {64, true}, {63, false}, {8191, true}, {8192, false}},
		"far jump":         {{5, true}, {5 + 8192*3, true}, {5 + 8192*2, false}, {5 + 8192*3 - 8128, true}, {4 + 8192*3, true}},
		"word boundaries":  {{63, true}, {64, true}, {63, false}, {64, false}, {127, true}, {128, true}, {65, true}, {127, false}},
		"few":              {{255, true}, {0, true}, {255, false}, {256, true}, {0, false}, {1, true}, {255, false}, {256, false}, {8383, true}, {255, false}, {254, false}},
		"few and far":      {{3, true}, {1 << 30, true}, {3, false}, {1<<30 - 8128, true}},
		"the last":         {{top - 1, true}, {top, false}, {top + 1, false}, {1<<64 - 1, false}, {top - 1, false}, {top - 2, true}},
	} {
		var w Window
		for i, s := range steps {
			if got := w.Accept(s.counter); got != s.want {
				t.Errorf("%s: step %d, counter %d: %v, want %v", name, i, s.counter, got, s.want)
			}
		}
	}
}

func TestWindowSize(t *testing.T) {
	if got := unsafe.Sizeof(Window{}); got != 48 {
		t.Errorf("a window takes %d bytes, want 48", got)
	}
}

func TestWindowAllocatesNothing(t *testing.T) {
	var w Window
	c := uint64(0)
	if n := testing.AllocsPerRun(1000, func() { c += 97; w.Accept(c); w.Accept(c - 300) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// compare runs counters past both and reports the first difference.
func compare(t *testing.T, counters func() (uint64, bool)) {
	t.Helper()
	var w Window
	var o oracle
	for i := 0; ; i++ {
		c, ok := counters()
		if !ok {
			return
		}
		was := w
		got, want := w.Accept(c), o.accept(c)
		if got != want {
			t.Fatalf("step %d, counter %d, greatest %d: %v, want %v", i, c, o.greatest, got, want)
		}
		if !got && w != was {
			t.Fatalf("step %d, counter %d: a refused counter changed the window", i, c)
		}
	}
}

func TestWindowAgainstOracle(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		greatest := uint64(0)
		if seed%3 == 0 {
			greatest = r.Uint64() % RejectAfterMessages
		}
		steps := 0
		compare(t, func() (uint64, bool) {
			c := greatest
			switch r.IntN(12) {
			case 0, 1, 2, 3: // in order
				c++
			case 4, 5: // a little late
				c -= uint64(r.IntN(70))
			case 6: // anywhere in the window
				c -= uint64(r.IntN(8300))
			case 7: // at the edge
				c -= 8128 - 70 + uint64(r.IntN(140))
			case 8: // a gap
				c += uint64(r.IntN(200))
			case 9: // a big one
				c += uint64(r.IntN(3 * 8192))
			case 10: // around one ring
				c += 8192 - 70 + uint64(r.IntN(140))
			case 11:
				c += uint64(r.IntN(2))
			}
			if c < RejectAfterMessages && (c > greatest && c-greatest < 1<<20) {
				greatest = c
			}
			steps++
			return c, steps < 4000
		})
	}
}

func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0})
	f.Add([]byte{0x1f, 0xc0, 0x9f, 0xc0, 0x00, 0x01})
	f.Add([]byte{0x20, 0x00, 0xa0, 0x00, 0x7f, 0xff, 0x9f, 0xc1})
	// Two bytes a step: a sign and the distance from the last counter.
	f.Fuzz(func(t *testing.T, steps []byte) {
		c := uint64(0)
		compare(t, func() (uint64, bool) {
			if len(steps) < 2 {
				return 0, false
			}
			d := binary.BigEndian.Uint16(steps)
			steps = steps[2:]
			if d >= 1<<15 {
				c -= uint64(d & (1<<15 - 1))
			} else {
				c += uint64(d)
			}
			return c, true
		})
	})
}

func BenchmarkWindow(b *testing.B) {
	var w Window
	for i := uint64(0); b.Loop(); i++ {
		w.Accept(i ^ 3) // a little disorder
	}
}
