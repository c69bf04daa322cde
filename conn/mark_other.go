//go:build !linux

package conn

import (
	"errors"
	"fmt"
	"syscall"
)

// setMark sets the firewall mark of a socket, which only Linux has.
func setMark(_ syscall.RawConn, mark uint32) error {
	if mark == 0 {
		return nil
	}
	return fmt.Errorf("set firewall mark %#x: %w", mark, errors.ErrUnsupported)
}
