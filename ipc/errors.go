package ipc

import (
	"errors"
	"strconv"
	"syscall"
)

// Error is what is wrong with a request. It never holds a key, nor anything
// that a client sent in place of one.
type Error struct {
	Errno  syscall.Errno // what the client is told
	Line   int           // counted from the set=1 line, which is 1
	Key    string        // the key of the line; empty if it has none that is known
	Reason string        // what was wrong and what is wanted
}

func (e *Error) Error() string {
	s := "line " + strconv.Itoa(e.Line) + ": "
	if e.Key != "" {
		s += e.Key + ": "
	}
	return s + e.Reason
}

// Unwrap gives the Errno, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Errno }

// errnoOf is what a client is told of err: the errno it wraps, else EIO.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return syscall.EIO
}
