// Package rawfd waits for a file in a way that costs nothing while its reader is
// busy. The runtime's poller is told whatever happens to a file it knows, also
// then: for a reader of packets nearly once a packet, and each time a thread
// wakes up for nothing.
package rawfd

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A File is an open file whose calls allocate nothing. The system calls that are
// made on it must not block. Safe for concurrent use.
type File struct {
	fd    int
	end   int          // an eventfd: readable when the file is being closed
	users atomic.Int64 // calls under way, and closing

	// The runtime's poller knows an epoll instance that knows fd, and tells of it
	// only when armed: from a reader's call that finds nothing until one that
	// finds something at once.
	epoll *os.File
	raw   syscall.RawConn // of epoll
}

// epollCtl and poll are variables for tests. What is behind their pointers stays alive and in
// place: it is part of a Reader, which its caller goes on using.
var (
	epollCtl = unix.RawSyscall6
	poll     = unix.Poll
)

// closing is added to the users by Close.
const closing = 1 << 32

// New takes over fd. It is closed if New fails.
func New(fd int) (*File, error) {
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd2", err)
	}
	f := &File{fd: fd, end: end}
	if err := f.watch(); err != nil {
		unix.Close(fd)
		unix.Close(end)
		return nil, err
	}
	return f, nil
}

// watch makes the epoll instance, not armed.
func (f *File) watch() error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil { // for os.NewFile, which asks
		unix.Close(ep)
		return os.NewSyscallError("fcntl", err)
	}
	f.epoll = os.NewFile(uintptr(ep), "epoll")
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, f.fd, new(unix.EpollEvent)); err != nil {
		f.epoll.Close()
		return os.NewSyscallError("epoll_ctl", err)
	}
	if f.raw, err = f.epoll.SyscallConn(); err != nil {
		f.epoll.Close()
	}
	return err
}

// acquire keeps the descriptor from being closed; false if that has begun.
func (f *File) acquire() bool {
	if f.users.Add(1) < closing {
		return true
	}
	f.release()
	return false
}

// release ends what acquire began. The last user closes.
func (f *File) release() {
	if f.users.Add(-1) == closing && f.users.CompareAndSwap(closing, 2*closing) {
		unix.Close(f.fd)
		unix.Close(f.end)
	}
}

// Close ends every call that waits, and closes the file when the last call has
// returned. After the first time it returns os.ErrClosed.
func (f *File) Close() error {
	for {
		n := f.users.Load()
		if n >= closing {
			return os.ErrClosed
		}
		if f.users.CompareAndSwap(n, n+1+closing) { // a user too, while it needs the descriptor
			break
		}
	}
	f.epoll.Close() // ends a Read that waits
	_, err := unix.Write(f.end, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	f.release()
	return os.NewSyscallError("write", err)
}

// Control calls call with the descriptor, which is good until it returns.
func (f *File) Control(call func(fd uintptr)) error {
	if !f.acquire() {
		return os.ErrClosed
	}
	defer f.release()
	call(uintptr(f.fd))
	return nil
}

// A Reader is one goroutine's way to read a File; a file has one.
type Reader struct {
	f      *File
	call   func(fd uintptr) (done bool)
	ready  func(ep uintptr) (done bool) // call, and arming where it finds nothing
	disarm func(ep uintptr)
	armed  bool            // stays while each Read waits: that saves two system calls
	dry    bool            // set by ready where call found nothing
	event  unix.EpollEvent // argument of a system call
	failed unix.Errno      // its result
}

// NewReader makes a reader that calls call with the descriptor.
func (f *File) NewReader(call func(fd uintptr) (done bool)) *Reader {
	r := &Reader{f: f, call: call}
	r.ready = func(ep uintptr) bool {
		if r.call(uintptr(f.fd)) {
			return true
		}
		r.dry = true
		if r.armed {
			return false
		}
		// What comes from now on is told, what came before is looked for.
		r.arm(ep, unix.EPOLLIN)
		r.armed = r.failed == 0
		return r.call(uintptr(f.fd)) || !r.armed
	}
	r.disarm = func(ep uintptr) { r.arm(ep, 0) }
	return r
}

// arm sets what the poller is told of. Where that fails, nothing would wake a
// reader, so it must not wait.
func (r *Reader) arm(ep uintptr, events uint32) {
	r.event = unix.EpollEvent{Events: events}
	_, _, r.failed = epollCtl(unix.SYS_EPOLL_CTL, ep, unix.EPOLL_CTL_MOD, uintptr(r.f.fd), uintptr(unsafe.Pointer(&r.event)), 0, 0)
}

// Read makes the call until it returns true; in between it waits for something
// to read. It tells whether the first call found nothing. The error is os.ErrClosed
// after Close, else the file cannot be waited for.
func (r *Reader) Read() (waited bool, err error) {
	if !r.f.acquire() {
		return false, os.ErrClosed
	}
	defer r.f.release()
	r.dry = false
	r.failed = 0
	err = r.f.raw.Read(r.ready)
	if err == nil && r.failed != 0 {
		err = os.NewSyscallError("epoll_ctl", r.failed)
	}
	if err != nil && r.f.users.Load() >= closing {
		err = os.ErrClosed
	}
	if err != nil {
		return r.dry, err
	}
	if r.armed && !r.dry {
		r.armed = false
		_ = r.f.raw.Control(r.disarm)
	}
	return r.dry, nil
}

// Try makes the call once, whatever it returns.
func (r *Reader) Try() error {
	if !r.f.acquire() {
		return os.ErrClosed
	}
	defer r.f.release()
	r.call(uintptr(r.f.fd))
	return nil
}

// Write calls call until it returns true; in between it waits for room to write,
// but no longer than that: then the error is os.ErrDeadlineExceeded. It waits on
// its thread: a full buffer is rare.
func (f *File) Write(within time.Duration, call func(fd uintptr) (done bool)) error {
	if !f.acquire() {
		return os.ErrClosed
	}
	defer f.release()
	for end := time.Now().Add(within); !call(uintptr(f.fd)); {
		left := time.Until(end)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		fds := [2]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLOUT}, {Fd: int32(f.end), Events: unix.POLLIN}}
		_, err := poll(fds[:], int(min(left, time.Minute)/time.Millisecond)+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return os.ErrClosed
		case fds[0].Revents != 0 && fds[0].Revents&unix.POLLOUT == 0:
			if call(uintptr(f.fd)) {
				return nil
			}
			time.Sleep(errorPause)
		}
	}
	return nil
}

// errorPause is how long until a file in an error state, of which the call knows
// nothing, is tried again.
const errorPause = 10 * time.Millisecond
