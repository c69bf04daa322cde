// Package rawfd waits for a file on the thread of the goroutine that waits, by
// poll(2), and not in the runtime's poller. That one is woken whenever something
// happens to a file it knows, also while the file's reader is busy or on its way
// back: for a reader of packets nearly once a packet, each time on another thread.
package rawfd

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A File is an open file with what [syscall.RawConn] asks for, which here
// allocates nothing. The system calls that are made on it must not block. Safe
// for concurrent use.
type File struct {
	fd    int
	end   int          // an eventfd: readable when the file is being closed
	users atomic.Int64 // calls under way, and closing
	turn  atomic.Int64 // when a call that waits last let other goroutines run, since start
}

// closing is added to the users by Close.
const closing = 1 << 32

// New takes over fd. It is closed if New fails.
func New(fd int) (*File, error) {
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd2", err)
	}
	return &File{fd: fd, end: end}, nil
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

// Read calls call until it returns true; in between it waits for something to read.
func (f *File) Read(call func(fd uintptr) (done bool)) error { return f.until(unix.POLLIN, call) }

// Write calls call until it returns true; in between it waits for room to write.
func (f *File) Write(call func(fd uintptr) (done bool)) error { return f.until(unix.POLLOUT, call) }

// A goroutine that for 10 ms only returns from system calls counts as one that
// does not let others run: the runtime takes its place away in every call then, and
// watches all calls closely for some time, for two context switches each.
const turnTime = 4 * time.Millisecond

var start = time.Now()

// yield sees to it that the runtime thinks well of who waits.
func (f *File) yield() {
	if now := int64(time.Since(start)); now-f.turn.Load() > int64(turnTime) {
		f.turn.Store(now)
		runtime.Gosched()
	}
}

// errorPause is how long until a file in an error state, of which the call knows
// nothing, is tried again.
const errorPause = 10 * time.Millisecond

func (f *File) until(events int16, call func(fd uintptr) (done bool)) error {
	if !f.acquire() {
		return os.ErrClosed
	}
	defer f.release()
	for !call(uintptr(f.fd)) {
		f.yield()
		fds := [2]unix.PollFd{{Fd: int32(f.fd), Events: events}, {Fd: int32(f.end), Events: unix.POLLIN}}
		_, err := unix.Poll(fds[:], -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return os.ErrClosed
		case fds[0].Revents&events == 0:
			if call(uintptr(f.fd)) {
				return nil
			}
			time.Sleep(errorPause)
		}
	}
	return nil
}
