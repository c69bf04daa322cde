package ratelimiter

import (
	"time"

	"culvert/internal/clock"
)

// loadHold is how long a device counts as under load after it last was.
const loadHold = time.Second

// Load is the under-load detector. The zero value is not under load. One owner.
type Load struct {
	until clock.Time // under load before this
}

// Note records the handshake queue's length, before the message at hand is added; at
// capacity/8 or more (but not when empty) the device is under load until 1 s
// after. (Kernel: 512 of 4096.)
func (l *Load) Note(now clock.Time, queued, capacity int) {
	if queued > 0 && queued >= capacity/8 {
		l.until = now.Add(loadHold)
	}
}

// Under reports whether the device is under load.
func (l *Load) Under(now clock.Time) bool { return now < l.until }
