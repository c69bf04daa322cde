//go:build unix

package conn

import (
	"errors"

	"golang.org/x/sys/unix"
)

const errAddrInUse = unix.EADDRINUSE

// isFamilyMissing reports whether err says that the machine lacks an address
// family, rather than that a socket of it could not be had.
func isFamilyMissing(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) ||
		errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EPFNOSUPPORT)
}
