package conn

import (
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received or sent
}

// syscalls is where the sockets meet the kernel, so that tests can put
// another kernel there.
type syscalls struct {
	// recvmmsg and sendmmsg do not block and tell how many messages they
	// moved, which is at least 1 if the error is 0.
	recvmmsg func(fd uintptr, msgs []mmsghdr) (int, unix.Errno)
	sendmmsg func(fd uintptr, msgs []mmsghdr) (int, unix.Errno)
	release  func() string // of the kernel
	listen   listener
	steer    func(c controller, program []bpf.RawInstruction) error
}

var kernel = syscalls{
	recvmmsg: func(fd uintptr, msgs []mmsghdr) (int, unix.Errno) { return mmsg(unix.SYS_RECVMMSG, fd, msgs) },
	sendmmsg: func(fd uintptr, msgs []mmsghdr) (int, unix.Errno) { return mmsg(unix.SYS_SENDMMSG, fd, msgs) },
	release:  kernelRelease,
	listen:   listenUDP,
	steer:    steer,
}

// mmsg makes one of the two system calls. x/sys/unix has neither, so a pointer
// to the headers must be passed by hand. The conversion stands in the call,
// which keeps msgs alive and in place (unsafe rule 4); what the headers point
// to is reachable from them through typed pointers. The sixth argument is
// recvmmsg's timeout, none.
func mmsg(trap, fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// drops is how many datagrams the kernel has dropped because the receive buffer was full; 0 where
// it does not tell.
func (s *linuxSocket) drops() (n uint64) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	s.raw.Control(func(fd uintptr) {
		unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		n = uint64(info[unix.SK_MEMINFO_DROPS])
	})
	return n
}
