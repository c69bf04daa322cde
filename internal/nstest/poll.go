package nstest

import "time"

// Eventually asks cond again and again, every 5 ms, until it is true or the
// time is over, and reports whether it became true. It asks at least once and
// once more at the very end.
func Eventually(within time.Duration, cond func() bool) bool {
	over := time.NewTimer(within)
	defer over.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if cond() {
			return true
		}
		select {
		case <-tick.C:
		case <-over.C:
			return cond()
		}
	}
}
