package conn

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// controller gives access to a descriptor: a syscall.RawConn, and a rawfd.File.
type controller interface {
	Control(func(fd uintptr)) error
}

// setMark sets the firewall mark of a socket. A change needs CAP_NET_ADMIN (or
// CAP_NET_RAW since Linux 5.17); the mark that is there already needs nothing,
// though the kernel would refuse that, too.
func setMark(c controller, mark uint32) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		// The option is an int in the system call; the bits are the mark's.
		if has, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK); err == nil && uint32(has) == mark {
			return
		}
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark)))
	})
	if err != nil {
		return net.ErrClosed
	}
	if failed != nil {
		return fmt.Errorf("set firewall mark %#x: %w", mark, os.NewSyscallError("setsockopt", failed))
	}
	return nil
}
