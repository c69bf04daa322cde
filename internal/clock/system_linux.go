package clock

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type system struct{}

// System returns the machine's clocks: CLOCK_BOOTTIME and the wall clock.
func System() Clock { return system{} }

func (system) Now() Time {
	var ts unix.Timespec
	// A raw call, because the runtime takes any other for one that may block,
	// and wakes the thread that watches over those.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("BUG: CLOCK_BOOTTIME: " + errno.Error()) // there since Linux 2.6.39
	}
	return Time(ts.Nano())
}

func (system) Wall() time.Time { return time.Now() }
