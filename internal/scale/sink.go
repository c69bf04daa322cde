//go:build linux

package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// sink binds sinkPort in the namespace of the calling thread, so that the system drops
// what comes there and answers nothing.
func sink() (closing func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), unix.Bind(fd, &unix.SockaddrInet4{Port: sinkPort}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}
