package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

type system struct{}

// System returns the machine's clocks: CLOCK_BOOTTIME and the wall clock.
func System() Clock { return system{} }

func (system) Now() Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("BUG: CLOCK_BOOTTIME: " + err.Error()) // there since Linux 2.6.39
	}
	return Time(ts.Nano())
}

func (system) Wall() time.Time { return time.Now() }
