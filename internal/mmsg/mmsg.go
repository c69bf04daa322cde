//go:build linux

// Package mmsg is sendmmsg(2) and recvmmsg(2) for tools and tests, which
// golang.org/x/sys/unix does not have.
package mmsg

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Header is struct mmsghdr.
type Header struct {
	Hdr unix.Msghdr
	Len uint32 // bytes of the datagram
}

// Send sends datagrams and says how many; Receive receives, with the flags of recvmmsg(2).
func Send(fd int, msgs []Header) (int, error) { return call(unix.SYS_SENDMMSG, fd, msgs, 0) }
func Receive(fd int, msgs []Header, flags int) (int, error) {
	return call(unix.SYS_RECVMMSG, fd, msgs, flags)
}

// call makes one of the two. The conversion stands in the call, which keeps msgs alive
// and in place (unsafe rule 4).
func call(trap uintptr, fd int, msgs []Header, flags int) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
