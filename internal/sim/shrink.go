package sim

import (
	"testing"
	"time"
)

// Shrink leaves out as many events as it can of a run that fails, so that it still
// fails, if in another way, and gives what is left. It takes about as long as it may.
func Shrink(t *testing.T, c Config, events int, patience time.Duration) (Config, Result) {
	begin := time.Now()
	best := Run(t, c)
	gone := map[int]bool{}
	for size := (events + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < events && time.Since(begin) < patience; at += size {
			try := c
			try.Without = map[int]bool{}
			for i := range gone {
				try.Without[i] = true
			}
			for i := at; i < min(at+size, events); i++ {
				try.Without[i] = true
			}
			if len(try.Without) == len(gone) {
				continue
			}
			if r := Run(t, try); r.Failure != "" {
				best, gone = r, try.Without
			}
		}
	}
	c.Without = gone
	return c, best
}
