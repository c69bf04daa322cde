package conn

import (
	"errors"

	"golang.org/x/sys/windows"
)

const errAddrInUse = windows.WSAEADDRINUSE

// isFamilyMissing reports whether err says that the machine lacks an address
// family, rather than that a socket of it could not be had.
func isFamilyMissing(err error) bool {
	return errors.Is(err, windows.WSAEAFNOSUPPORT) || errors.Is(err, windows.WSAEADDRNOTAVAIL) ||
		errors.Is(err, windows.WSAEPROTONOSUPPORT) || errors.Is(err, windows.WSAEPFNOSUPPORT)
}

// isBroken: the handle is none of a socket any more, or the socket was shut down.
func isBroken(err error) bool {
	return errors.Is(err, windows.WSAENOTSOCK) || errors.Is(err, windows.WSAESHUTDOWN)
}
