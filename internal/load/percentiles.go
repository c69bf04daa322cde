package load

import (
	"slices"
	"time"
)

// Percentiles sum up measured times.
type Percentiles struct {
	Count              int
	P50, P90, P99, Max time.Duration
}

// PercentilesOf sums up all, which it sorts. Each figure is one that was measured,
// and at least that part of all are not above it.
func PercentilesOf(all []time.Duration) Percentiles {
	if len(all) == 0 {
		return Percentiles{}
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)*percent+99)/100-1] }
	return Percentiles{len(all), at(50), at(90), at(99), all[len(all)-1]}
}
