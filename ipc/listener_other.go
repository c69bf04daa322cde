//go:build !unix

package ipc

import (
	"errors"
	"net"
	"os"
)

// SocketDir is where wg(8) looks for the sockets of userspace daemons.
const SocketDir = "/var/run/wireguard"

// Listener is a UAPI socket; this platform has none yet (wg(8) wants a named
// pipe there).
type Listener struct{ net.Listener }

// Listen is not supported here.
func Listen(name string) (*Listener, error) { return nil, errors.ErrUnsupported }

// ListenIn is not supported here.
func ListenIn(dir, name string) (*Listener, error) { return nil, errors.ErrUnsupported }

// FromFile is not supported here.
func FromFile(f *os.File) (*Listener, error) { return nil, errors.ErrUnsupported }

// Path is empty.
func (l *Listener) Path() string { return "" }

// Removed is never closed.
func (l *Listener) Removed() <-chan struct{} { return nil }
