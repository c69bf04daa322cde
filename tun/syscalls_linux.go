package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// syscalls is where a queue meets the kernel, so that tests can put another
// kernel there. A TUN takes and gives whole packets. None of these blocks, so the
// calls are raw: the runtime takes any other for one that may block, and wakes the
// thread that watches over those.
type syscalls struct {
	read       func(fd int, b []byte) (int, error)
	write      func(fd int, b []byte) (int, unix.Errno)
	writev     func(fd int, iovs []unix.Iovec) (int, unix.Errno)
	setOffload func(fd, flags int) error
}

var kernel = syscalls{
	read: func(fd int, b []byte) (int, error) {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	},
	write: func(fd int, b []byte) (int, unix.Errno) {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return int(n), errno
	},
	writev: func(fd int, iovs []unix.Iovec) (int, unix.Errno) {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iovs))), uintptr(len(iovs)))
		return int(n), errno
	},
	setOffload: func(fd, flags int) error { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags) },
}
