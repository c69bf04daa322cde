package clock

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pause implements [Pauser].
func (system) Pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// Yield implements [Yielder].
func (system) Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
