package cryptobench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/internal/aead"
)

// fake is a clock that only goes when it is told to.
type fake struct{ now time.Duration }

func (f *fake) options() *Options {
	return &Options{Now: func() time.Duration { return f.now }, Stop: func() bool { return false }, Progress: func(Progress) {}}
}

// Contestants run there and back, each slice has the calls that fill it, and the
// figure is the median: what disturbs fewer than half of the slices is not in it.
func TestTurns(t *testing.T) {
	var clock fake
	var order []int
	costs := []time.Duration{100, 40, 7 * time.Millisecond}
	measuring := false
	run := func(i, calls int) error {
		clock.now += time.Duration(calls) * costs[i]
		if i == 0 && calls == 1 { // the end of the first calibration's first call: a cold one
			clock.now += 3 * time.Millisecond
		}
		if measuring = measuring || i == 2; measuring {
			order = append(order, i)
			if len(order)%4 == 0 {
				clock.now += 50 * time.Millisecond // somebody else's
			}
		}
		return nil
	}
	all, err := clock.options().takeTurns(3, run, 2*time.Second, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{100, 40, 7e6} {
		if all[i].perPacket != want || all[i].slices != all[0].slices {
			t.Errorf("contestant %d: %v ns in %d slices, not %v in %d", i, all[i].perPacket, all[i].slices, want, all[0].slices)
		}
	}
	if got := fmt.Sprint(order[1:13]); got != "[0 1 2 2 1 0 0 1 2 2 1 0]" {
		t.Errorf("they took turns as %s", got)
	}
	if n := len(order); n < 60 || clock.now < 2*time.Second || clock.now > 2200*time.Millisecond {
		t.Errorf("%d slices until %v", n, clock.now)
	}
}

// However short the time is, each has three slices.
func TestLeastRounds(t *testing.T) {
	var clock fake
	all, err := clock.options().takeTurns(2, func(_, calls int) error {
		clock.now += time.Duration(calls) * time.Microsecond
		return nil
	}, 0, slice(0, 2))
	if err != nil || all[0] != (figure{1000, 3}) || all[1] != all[0] {
		t.Errorf("%v, %v", all, err)
	}
}

func TestCalibrate(t *testing.T) {
	for _, c := range []struct {
		cost, slice time.Duration
		want        int
	}{
		{100, 5 * time.Millisecond, 50_000},
		{3 * time.Microsecond, 5 * time.Millisecond, 1666},
		{4 * time.Millisecond, 5 * time.Millisecond, 1},
		{time.Second, 5 * time.Millisecond, 1},
		{1, 1, 1},
		{1, 5 * time.Millisecond, mostCalls},
		{0, 5 * time.Millisecond, mostCalls}, // the clock stands still
	} {
		var clock fake
		got, err := clock.options().calibrate(func(calls int) error {
			clock.now += time.Duration(calls) * c.cost
			return nil
		}, c.slice)
		if err != nil || got != c.want {
			t.Errorf("%v a call, slices of %v: %d calls, not %d, %v", c.cost, c.slice, got, c.want, err)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{1, 100, 2}, 2}, {[]float64{4, 1, 100, 2}, 3}} {
		if got := median(c.of); got != c.want {
			t.Errorf("%v of %v", got, c.of)
		}
	}
}

func TestRows(t *testing.T) {
	got := newRows(Step{Open, 1424, 32}, []string{"fast", "generic"}, []figure{{356, 7}, {890, 7}})
	want := []Row{
		{"fast", "open", 1424, 32, 356, 4, 2.5, 7},
		{"generic", "open", 1424, 32, 890, 1.6, 1, 7},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// ticking is a clock that goes by 10 ms whenever it is read: then every slice is one
// call, whatever machine this is.
func ticking() Options {
	var now time.Duration
	return Options{
		Kernels: aead.Kernels(), Sizes: []int{64, 1, 1424, 64}, Time: time.Second,
		Now:      func() time.Duration { now += 10 * time.Millisecond; return now },
		Stop:     func() bool { return false },
		Progress: func(Progress) {},
	}
}

// A run has a row for each kernel and step, and tells what it does.
func TestRun(t *testing.T) {
	o := ticking()
	o.Time = time.Minute
	var told []string
	o.Progress = func(p Progress) {
		told = append(told, fmt.Sprintf("%d/%d %s", p.Number, p.Of, p.Step))
		// Every step has its share of the time, to a round of slices.
		if want := o.Time / 12 * time.Duration(13-p.Number); p.Left > want || p.Left < want-300*time.Millisecond {
			t.Errorf("%v is left before step %d, not %v", p.Left, p.Number, want)
		}
	}
	o.Kernels = slices.Concat(o.Kernels, o.Kernels)
	rows, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	names := aead.Kernels()
	if len(rows) != 12*len(names) || len(told) != 12 || told[0] != "1/12 seal 64 bytes, 1 in a call" || told[11] != "12/12 open 1424 bytes, 32 in a call" {
		t.Errorf("%d rows, told %q", len(rows), told)
	}
	for i, r := range rows {
		ns := 1e7 / float64(r.Messages)
		if r.Kernel != names[i%len(names)] || r.Slices < rounds || r.NsPerPacket != ns || r.GBPerS != float64(r.Size)/ns || r.Ratio != 1 {
			t.Errorf("row %d: %+v", i, r)
		}
	}
}

// x/crypto is measured whether it is asked for or not, and last.
func TestGenericIsThere(t *testing.T) {
	for _, asked := range [][]string{nil, {"generic"}, {"a"}, {"generic", "a"}, {"a", "generic", "a"}} {
		want := "generic"
		if len(asked) > 0 && !slices.Equal(asked, []string{"generic"}) {
			want = "a generic"
		}
		if got := strings.Join((&Options{Kernels: asked}).kernels(), " "); got != want {
			t.Errorf("asked for %v: %s", asked, got)
		}
	}
}

// One that is told to stop has the steps that were done, whole.
func TestStop(t *testing.T) {
	o := ticking()
	steps, asked := 0, 0
	o.Progress = func(Progress) { steps++ }
	o.Stop = func() bool { asked++; return steps == 3 && asked%5 == 0 }
	rows, err := Run(o)
	if !errors.Is(err, ErrStopped) || len(rows) != 2*len(aead.Kernels()) || steps != 3 {
		t.Errorf("%d rows after %d steps, %v", len(rows), steps, err)
	}
}

func TestUnknownKernel(t *testing.T) {
	o := ticking()
	o.Kernels = []string{"sse2"}
	if _, err := Run(o); err == nil || !strings.Contains(err.Error(), `must be one of `+strings.Join(aead.Kernels(), ", ")) {
		t.Error(err)
	}
}

// No counter is there twice, whichever kernel seals.
func TestCounters(t *testing.T) {
	o := ticking()
	b, err := newBench(&o, aead.Kernels())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	look := func() {
		for _, m := range b.packets {
			if seen[m.Counter] {
				t.Errorf("counter %d twice", m.Counter)
			}
			seen[m.Counter] = true
		}
	}
	for _, messages := range []int{1, Batch} {
		b.lay(Step{Seal, 64, messages})
		for i, k := range b.keys {
			if err := b.prove(i); err != nil {
				t.Fatal(err)
			}
			look()
			for range 3 {
				if err := b.seal(k, 1); err != nil {
					t.Fatal(err)
				}
				look()
			}
			if next := b.counter; b.seal(k, 5) != nil || b.counter != next+uint64(5*messages) {
				t.Errorf("5 calls used %d counters", b.counter-next)
			}
		}
	}
}

// A kernel that computes something else is not measured, and what does not open is
// not taken for opened.
func TestWrongKernel(t *testing.T) {
	o := ticking()
	b, err := newBench(&o, []string{"wrong", "generic"}[1:])
	if err != nil {
		t.Fatal(err)
	}
	b.names, b.keys = []string{"wrong", "generic"}, append([]*aead.Key{aead.New(&[aead.KeySize]byte{9})}, b.keys...)
	if _, err := b.step(Step{Seal, 100, Batch}, 0, 1); err == nil || !strings.Contains(err.Error(), "the kernel wrong computes something else") {
		t.Error(err)
	}
	if err := b.prove(1); err != nil {
		t.Error(err)
	}
	if err := b.open(b.keys[1], 2); err != nil {
		t.Error(err)
	}
	b.sealed[Batch-1][0] ^= 1
	if err := b.open(b.keys[1], 1); err == nil {
		t.Error("what was changed opens")
	}
}

// What is measured is the kernels: nothing is allocated.
func TestNoAllocations(t *testing.T) {
	o := ticking()
	b, err := newBench(&o, aead.Kernels())
	if err != nil {
		t.Fatal(err)
	}
	for _, messages := range []int{1, Batch} {
		b.lay(Step{Open, 256, messages})
		for i, k := range b.keys {
			if err := b.prove(i); err != nil {
				t.Fatal(err)
			}
			opens := testing.AllocsPerRun(20, func() { _ = b.open(k, 1) })
			seals := testing.AllocsPerRun(20, func() { _ = b.seal(k, 1) })
			if opens != 0 || seals != 0 {
				t.Errorf("%s, %d in a call: %v allocations to open, %v to seal", b.names[i], messages, opens, seals)
			}
		}
	}
}

func TestTable(t *testing.T) {
	r := Report{Version: "v1", CPU: "A Processor", GOARCH: "amd64", Kernel: "fast", Rows: slices.Concat(
		newRows(Step{Seal, 64, 1}, []string{"fast", "generic"}, []figure{{301.4, 9}, {300, 9}}),
		newRows(Step{Open, 8900, 32}, []string{"fast", "generic"}, []figure{{1780, 9}, {4450, 9}}),
		newRows(Step{Open, 1, 32}, []string{"fast", "generic"}, []figure{{47.04, 9}, {141.12, 9}}),
	)}
	const want = `culvert v1, A Processor, amd64; the daemon uses fast here if not told otherwise
ns per packet, 10^9 bytes of plaintext per second, times as fast as generic (x/crypto)

                                       fast        generic
        bytes  in a call    ns  GB/s  ratio    ns     GB/s
  seal     64          1   301  0.21   1.00   300     0.21
  open   8900         32  1780  5.00   2.50  4450     2.00
  open      1         32  47.0  0.02   3.00   141     0.01
`
	var b strings.Builder
	if err := r.Table(&b); err != nil || b.String() != want {
		t.Errorf("%v\n%s", err, &b)
	}
}
