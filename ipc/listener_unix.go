//go:build unix

package ipc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketDir is where wg(8) looks for the sockets of userspace daemons.
const SocketDir = "/var/run/wireguard"

// Listener is a UAPI socket with a file that belongs to it. All methods may be
// called from any goroutine.
type Listener struct {
	*net.UnixListener
	path     string
	identity fs.FileInfo // of the file, by device and inode; nil if there is none
	removed  chan struct{}
	watch    *watch // nil if there is no file
	close    sync.Once
}

// Listen makes the socket SocketDir/NAME.sock, and SocketDir (mode 0755) if it
// is missing. Nobody but the owner can connect to it (mode 0600) from its first
// moment, whatever the umask, which is left alone. A socket that is there is
// replaced if nobody answers on it; else the error wraps EADDRINUSE.
func Listen(name string) (*Listener, error) { return ListenIn(SocketDir, name) }

// ListenIn is Listen with another directory.
func ListenIn(dir, name string) (*Listener, error) {
	path := filepath.Join(dir, name+".sock")
	l, err := listenIn(dir, path)
	if err != nil {
		return nil, fmt.Errorf("uapi socket %s: %w", path, err)
	}
	return l, nil
}

func listenIn(dir, path string) (*Listener, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if err := checkFree(path); err != nil {
		return nil, err
	}
	sweep(dir, time.Now())
	// A directory of our own, mode 0700, keeps everybody out until the socket
	// has its mode. Moving the file does not disturb who connects to it.
	private, err := os.MkdirTemp(dir, privatePrefix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	first := filepath.Join(private, "s")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, err
	}
	u.SetUnlinkOnClose(false)
	l, err := publish(u, first, path)
	if err != nil {
		u.Close()
	}
	return l, err
}

// privatePrefix begins the name of a directory that a socket is made in, which is
// there for some microseconds. One that is privateAge old is of a daemon that was
// killed meanwhile.
const (
	privatePrefix = ".new"
	privateAge    = time.Minute
)

// sweep removes what killed daemons left in dir. What it cannot remove stays: it is in
// nobody's way.
func sweep(dir string, now time.Time) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), privatePrefix) {
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) >= privateAge {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// publish gives the socket u, bound at first, its mode and its place.
func publish(u *net.UnixListener, first, path string) (*Listener, error) {
	if err := os.Chmod(first, 0o600); err != nil {
		return nil, err
	}
	info, err := os.Lstat(first)
	if err != nil {
		return nil, err
	}
	// Should two daemons get here at once, the later one has the name, and the
	// other one sees its file replaced, and ends.
	if err := os.Rename(first, path); err != nil {
		return nil, err
	}
	return newListener(u, path, info), nil
}

// FromFile makes a listener of an inherited, listening unix socket, and owns f
// from then on; errors call it by f's name. If its address is a file, that is watched, and removed by
// Close, as with Listen.
func FromFile(f *os.File) (*Listener, error) {
	defer f.Close()
	g, err := net.FileListener(f)
	if err != nil {
		if op := new(net.OpError); errors.As(err, &op) {
			err = op.Err // the rest is said better here
		}
		return nil, fmt.Errorf("uapi socket: %s is no listening socket: %w", f.Name(), err)
	}
	u, ok := g.(*net.UnixListener)
	if !ok || u.Addr().Network() != "unix" { // what keeps borders of messages is another network
		g.Close()
		return nil, fmt.Errorf("uapi socket: %s is no unix stream socket", f.Name())
	}
	if !listens(u) {
		g.Close()
		return nil, fmt.Errorf("uapi socket: %s does not listen", f.Name())
	}
	u.SetUnlinkOnClose(false)
	path := u.Addr().String()
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket || !filepath.IsAbs(path) {
		info = nil
	}
	return newListener(u, path, info), nil
}

// listens reports whether u does: package net finds out at Accept only. Where the
// system cannot tell it is left to that.
func listens(u *net.UnixListener) bool {
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	on := 1
	err = raw.Control(func(fd uintptr) {
		if v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil {
			on = v
		}
	})
	return err == nil && on != 0
}

// newListener makes a Listener of u, whose file is at path, unless info, which
// tells it from others, is nil.
func newListener(u *net.UnixListener, path string, info fs.FileInfo) *Listener {
	l := &Listener{UnixListener: u, path: path, identity: info, removed: make(chan struct{})}
	if info != nil {
		l.watch = newWatch(filepath.Dir(path), func() bool { return !l.ours() }, func() { close(l.removed) })
	}
	return l
}

// Path is where the socket's file was made, empty if it never had one.
func (l *Listener) Path() string {
	if l.identity == nil {
		return ""
	}
	return l.path
}

// Removed is closed when the socket's file is gone, or another one is in its
// place: somebody wants this daemon to end. Changes of its mode or owner are
// nothing. It stays open after Close.
func (l *Listener) Removed() <-chan struct{} { return l.removed }

// Close ends Accept, and removes the file if it is still ours. It may be
// called more than once.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		if l.watch != nil {
			l.watch.close()
		}
		err = nil
		if l.identity != nil && l.ours() {
			err = os.Remove(l.path)
		}
		err = errors.Join(err, l.UnixListener.Close())
	})
	return err
}

// ours reports whether the file is the one this listener made. Its inode
// cannot be used again meanwhile: the bound socket holds it.
func (l *Listener) ours() bool {
	info, err := os.Lstat(l.path)
	return err == nil && os.SameFile(info, l.identity)
}

// makeDir makes dir, readable by all whatever the umask, if it is missing.
func makeDir(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err == nil {
		return os.Chmod(dir, 0o755)
	}
	if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
		return nil
	} else if statErr == nil {
		return fmt.Errorf("%s is no directory: remove it: %w", dir, syscall.ENOTDIR)
	}
	return err
}

// checkFree makes sure that path is free, or a socket nobody answers on.
func checkFree(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("a file that is no socket is there: remove it: %w", syscall.EADDRINUSE)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	// Anything but a refusal (a full backlog, no permission) is an answer.
	if err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("another daemon answers there: %w", syscall.EADDRINUSE)
	}
	return nil
}
