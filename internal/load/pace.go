package load

import "time"

// pace says how many of something are due at a rate.
type pace struct {
	rate float64 // a second; 0: as many as can be
	done int64
}

// due is how many to do now, at most most, that long after the beginning. What was
// missed is caught up with, as far as most allows.
func (p *pace) due(since time.Duration, most int) int {
	if p.rate <= 0 {
		return most
	}
	return int(max(0, min(int64(since.Seconds()*p.rate)+1-p.done, int64(most))))
}

// wait is how long until another is due.
func (p *pace) wait(since time.Duration) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	return max(0, time.Duration(float64(p.done)/p.rate*float64(time.Second))-since)
}
