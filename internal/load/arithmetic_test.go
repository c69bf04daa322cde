package load

import (
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	upTo := func(n int) (all []time.Duration) {
		for i := range n {
			all = append(all, time.Duration(n-i)) // backwards
		}
		return all
	}
	for _, c := range []struct {
		all  []time.Duration
		want Percentiles
	}{
		{nil, Percentiles{}},
		{upTo(1), Percentiles{1, 1, 1, 1, 1}},
		{upTo(2), Percentiles{2, 1, 2, 2, 2}},
		{upTo(10), Percentiles{10, 5, 9, 10, 10}},
		{upTo(100), Percentiles{100, 50, 90, 99, 100}},
		{upTo(1000), Percentiles{1000, 500, 900, 990, 1000}},
	} {
		if got := PercentilesOf(c.all); got != c.want {
			t.Errorf("of %d: %+v, want %+v", len(c.all), got, c.want)
		}
	}
}

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		rate  float64
		done  int64
		since time.Duration
		most  int
		due   int
		wait  time.Duration
	}{
		{0, 5, 0, 64, 64, 0},        // as many as can be
		{100, 0, 0, 64, 1, 0},       // the first at once
		{100, 1, 0, 64, 0, 10 * ms}, // the second later
		{100, 1, 4 * ms, 64, 0, 6 * ms},
		{100, 1, 10 * ms, 64, 1, 0},
		{100, 1, 95 * ms, 64, 9, 0}, // what was missed is caught up with
		{100, 1, 95 * ms, 4, 4, 0},  // as far as there is room
		{100, 1, 95 * ms, 0, 0, 0},
		{100, 50, 95 * ms, 64, 0, 405 * ms},
	} {
		p := pace{c.rate, c.done}
		if due, wait := p.due(c.since, c.most), p.wait(c.since); due != c.due || wait != c.wait {
			t.Errorf("%+v: %d due, the next in %v", c, due, wait)
		}
	}
}

// A clock that stands nowhere near gives as many as were due.
func TestPaceKeepsTheRate(t *testing.T) {
	p, total := pace{rate: 333}, 0
	for now := time.Duration(0); now < 3*time.Second; now += 700 * time.Microsecond {
		n := p.due(now, 64)
		total += n
		p.done += int64(n)
	}
	if total < 998 || total > 1000 {
		t.Errorf("%d in 3 s at 333 a second", total)
	}
}
