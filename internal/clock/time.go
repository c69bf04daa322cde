// Package clock has the one notion of time the daemon uses: the boot-time
// clock, which runs through suspend. Pure packages use only the Time type;
// they are handed "now" and never ask for it.
package clock

import "time"

// Time is an instant on the boot-time clock, in nanoseconds. The zero value
// means "never" or "not set": no running system reads 0.
type Time int64

// Never is the zero Time.
const Never Time = 0

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t > u }

// IsZero reports whether t is Never.
func (t Time) IsZero() bool { return t == Never }

// Min returns the earlier of t and u where both are set, else the one that is.
func (t Time) Min(u Time) Time {
	if t.IsZero() || (!u.IsZero() && u < t) {
		return u
	}
	return t
}
