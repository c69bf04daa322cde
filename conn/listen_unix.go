//go:build unix

package conn

import (
	"errors"

	"golang.org/x/sys/unix"
)

const errAddrInUse = unix.EADDRINUSE

// isBroken: the descriptor is none of a socket any more, or the socket was shut down
// (which nobody does to ours, but nothing would be sent either).
func isBroken(err error) bool {
	return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) || errors.Is(err, unix.EPIPE)
}

// isFamilyMissing reports whether err says that the machine lacks an address
// family, rather than that a socket of it could not be had.
func isFamilyMissing(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) ||
		errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EPFNOSUPPORT)
}
