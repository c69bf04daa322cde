package clock

import "time"

// Clock reads the time. It is asked once per batch of packets, by the
// goroutines of package device only. Safe for concurrent use.
type Clock interface {
	// Now is the boot-time clock. It never goes back and is never 0.
	Now() Time
	// Wall is the wall clock, for TAI64N timestamps and for what wg(8) shows.
	Wall() time.Time
}

// Pauser is a Clock that can pause a goroutine for some tens of microseconds.
type Pauser interface {
	// Pause keeps the calling thread, and with it the right to run Go code, for
	// d and what the kernel adds to share timer interrupts (50 us unless the
	// process was started otherwise). A signal ends it early. It costs less than
	// time.Sleep, and is exact where that rounds up to milliseconds, but what it
	// keeps is lost to other goroutines meanwhile.
	Pause(d time.Duration)
}

// Yielder is a Clock that can leave the processor to other threads.
type Yielder interface {
	// Yield lets other threads of the machine run that wait for this processor; the
	// calling one goes on when the scheduler thinks it is its turn (sched_yield(2)).
	// A system call if there are none. The right to run Go code is kept.
	Yield()
}

// virtual follows package time, so it obeys testing/synctest.
type virtual struct{ base time.Time }

// Virtual returns a clock that follows package time's monotonic clock. Inside
// a testing/synctest bubble that is the bubble's fake clock.
func Virtual() Clock { return virtual{time.Now()} }

func (v virtual) Now() Time       { return Time(time.Since(v.base) + time.Second) }
func (v virtual) Wall() time.Time { return time.Now() }
