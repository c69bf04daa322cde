package cryptobench

import (
	"slices"
	"time"
)

const (
	// longest is a slice of a kernel: much longer than filling caches takes, much
	// shorter than most disturbances.
	longest = 5 * time.Millisecond
	// rounds are there at least, however short the time is.
	rounds = 3
	// mostCalls bounds a slice where the clock stands still.
	mostCalls = 1 << 20
)

// slice is how long one is if a step has that time.
func slice(share time.Duration, kernels int) time.Duration {
	return max(1, min(longest, share/time.Duration(2*rounds*kernels)))
}

// figure is what was measured of a kernel in a step.
type figure struct {
	perPacket float64 // ns, the median of the slices
	slices    int
}

// step measures all kernels until that time.
func (b *bench) step(s Step, until, slice time.Duration) ([]figure, error) {
	b.lay(s)
	for i := range b.keys {
		if err := b.prove(i); err != nil {
			return nil, err
		}
	}
	run := func(kernel, calls int) error {
		if s.Operation == Open {
			return b.open(b.keys[kernel], calls)
		}
		return b.seal(b.keys[kernel], calls)
	}
	all, err := b.takeTurns(len(b.keys), run, until, slice)
	for i := range all {
		all[i].perPacket /= float64(s.Messages)
	}
	return all, err
}

// takeTurns lets so many contestants run in slices. Their figures are for a call.
func (o *Options) takeTurns(contestants int, run func(contestant, calls int) error, until, slice time.Duration) ([]figure, error) {
	calls := make([]int, contestants)
	for i := range calls {
		var err error
		if calls[i], err = o.calibrate(func(calls int) error { return run(i, calls) }, slice); err != nil {
			return nil, err
		}
	}
	samples := make([][]float64, contestants)
	for round := 0; round < rounds || o.Now() < until; round++ {
		for turn := range contestants {
			i := turn
			if round%2 == 1 {
				i = contestants - 1 - turn
			}
			took, err := o.time(func() error { return run(i, calls[i]) })
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], float64(took)/float64(calls[i]))
		}
	}
	all := make([]figure, contestants)
	for i, s := range samples {
		all[i] = figure{median(s), len(s)}
	}
	return all, nil
}

// calibrate is how many calls make a slice.
func (o *Options) calibrate(run func(calls int) error, slice time.Duration) (int, error) {
	for calls := 1; ; calls *= 2 {
		took, err := o.time(func() error { return run(calls) })
		if err != nil {
			return 0, err
		}
		// One call alone is a cold one, too.
		if took >= slice/4 && (calls > 1 || took >= slice) || calls >= mostCalls {
			fit := float64(calls) * float64(slice) / float64(max(1, took))
			return int(min(max(1, fit), mostCalls)), nil
		}
	}
}

// time is how long run takes, unless there is to be no more.
func (o *Options) time(run func() error) (time.Duration, error) {
	if o.Stop() {
		return 0, ErrStopped
	}
	start := o.Now()
	err := run()
	return o.Now() - start, err
}

// median is the middle one, or what is between the two middle ones.
func median(all []float64) float64 {
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}
