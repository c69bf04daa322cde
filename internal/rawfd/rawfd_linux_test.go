package rawfd

import (
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends of a stream, that do not block.
func pair(t *testing.T) (*File, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); unix.Close(fds[1]) })
	return f, fds[1]
}

// A call waits for what is to be read, and is made again then.
func TestReadWaits(t *testing.T) {
	f, other := pair(t)
	calls := 0
	var b [8]byte
	if waited, err := f.NewReader(func(fd uintptr) bool {
		calls++
		n, err := unix.Read(int(fd), b[:])
		if err == unix.EAGAIN {
			unix.Write(other, []byte("x")) // it comes only after we have looked
			return false
		}
		return n == 1
	}).Read(); err != nil || !waited || calls != 2 || b[0] != 'x' {
		t.Errorf("%d calls, waited: %v, %q, %v", calls, waited, b[0], err)
	}
}

// A call waits for room to write.
func TestWriteWaits(t *testing.T) {
	f, other := pair(t)
	full := 0
	if err := f.Write(time.Hour, func(fd uintptr) bool {
		for {
			_, err := unix.Write(int(fd), make([]byte, 4096))
			if err == unix.EAGAIN && full == 0 {
				full++
				for err == nil || full == 1 { // make room
					_, err = unix.Read(other, make([]byte, 65536))
					full++
				}
				return false
			}
			if err != nil {
				t.Error(err)
			}
			if full > 0 {
				return true
			}
		}
	}); err != nil || full == 0 {
		t.Errorf("full %d, %v", full, err)
	}
}

// It does not wait for longer than it is told, and not at all if it is told so.
func TestWriteGivesUp(t *testing.T) {
	f, _ := pair(t)
	defer func() { poll = unix.Poll }()
	calls := 0
	full := func(uintptr) bool { calls++; return false }
	synctest.Test(t, func(t *testing.T) {
		poll = func(_ []unix.PollFd, timeout int) (int, error) { // nobody reads
			time.Sleep(time.Duration(timeout) * time.Millisecond)
			return 0, nil
		}
		const within = 20 * time.Millisecond
		begin := time.Now()
		err := f.Write(within, full)
		if took := time.Since(begin); err != os.ErrDeadlineExceeded || calls != 2 || took < within || took > within+time.Millisecond {
			t.Errorf("%v after %v and %d calls", err, took, calls)
		}
		begin, calls = time.Now(), 0
		if err := f.Write(0, full); err != os.ErrDeadlineExceeded || calls != 1 || time.Since(begin) != 0 {
			t.Errorf("%v after %v and %d calls", err, time.Since(begin), calls)
		}
	})
}

// Close ends calls that wait, and later ones; the descriptor lives as long as a call.
func TestClose(t *testing.T) {
	f, other := pair(t)
	waiting := make(chan struct{}, 4)
	var wg sync.WaitGroup
	call := func(uintptr) bool {
		waiting <- struct{}{}
		return false
	}
	for unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) == nil {
		if _, err := unix.Write(f.fd, make([]byte, 4096)); err != nil {
			break // full: Write waits too
		}
	}
	read := func() error { _, err := f.NewReader(call).Read(); return err }
	for _, wait := range []func() error{read, func() error { return f.Write(time.Hour, call) }} {
		wg.Go(func() {
			if err := wait(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("a call that waited: %v", err)
			}
		})
	}
	for range 2 {
		<-waiting
	}
	if err := f.Control(func(fd uintptr) {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil {
			t.Errorf("the descriptor was closed under a call: %v", err)
		}
	}); err != nil {
		t.Error(err)
	}
	wg.Wait()
	_, readErr := f.NewReader(func(uintptr) bool { t.Error("called"); return true }).Read()
	for what, err := range map[string]error{
		"Control": f.Control(func(uintptr) { t.Error("called") }),
		"Read":    readErr,
		"Write":   f.Write(time.Hour, func(uintptr) bool { t.Error("called"); return true }),
		"Close":   f.Close(),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	// The other end sees the end: the descriptor is closed.
	for {
		n, err := unix.Read(other, make([]byte, 100))
		if err != nil {
			t.Errorf("the descriptor was not closed: %v", err)
		}
		if n <= 0 {
			break
		}
	}
}

// A file in an error state that the call says nothing of does not burn the processor.
func TestErrorState(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	f, err := New(p[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unix.Close(p[1]) // no writer: poll says POLLHUP, of writing nothing
	calls, begin := 0, time.Now()
	if err := f.Write(time.Hour, func(uintptr) bool { calls++; return calls == 5 }); err != nil || calls != 5 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if took := time.Since(begin); took < 2*errorPause {
		t.Errorf("5 calls in %v", took)
	}
}

// Neither waiting nor calling allocates.
func TestNoAllocations(t *testing.T) {
	f, other := pair(t)
	first := true
	var b [8]byte
	call := func(fd uintptr) bool {
		if first = !first; first {
			unix.Read(int(fd), b[:])
			return true
		}
		unix.Write(other, b[:1])
		return false
	}
	control, r := func(uintptr) {}, f.NewReader(call)
	if n := testing.AllocsPerRun(100, func() { r.Read(); f.Control(control) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// No wake-up is lost, whether a byte comes before the reader looks, after it has
// looked, or while it falls asleep.
func TestNoWakeUpIsLost(t *testing.T) {
	f, other := pair(t)
	const bytes = 20_000
	read := make(chan struct{}, 1)
	go func() {
		for range bytes {
			unix.Write(other, []byte{1})
			<-read
		}
	}()
	var b [1]byte
	r := f.NewReader(func(fd uintptr) bool {
		n, err := unix.Read(int(fd), b[:])
		return n == 1 || err != unix.EAGAIN
	})
	for i := range bytes {
		if _, err := r.Read(); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		read <- struct{}{}
	}
}

// Where the poller cannot be told to wake a reader it does not wait, which it would
// for ever; the next one may.
func TestArmingFails(t *testing.T) {
	f, other := pair(t)
	epollCtl = func(_, _, _, _, _, _, _ uintptr) (uintptr, uintptr, unix.Errno) { return 0, 0, unix.ENOMEM }
	defer func() { epollCtl = unix.RawSyscall6 }()
	var b [8]byte
	r := f.NewReader(func(fd uintptr) bool {
		_, err := unix.Read(int(fd), b[:])
		return err != unix.EAGAIN
	})
	if _, err := r.Read(); !errors.Is(err, unix.ENOMEM) {
		t.Fatalf("error %v", err)
	}
	epollCtl = unix.RawSyscall6
	unix.Write(other, []byte("x"))
	if _, err := r.Read(); err != nil || b[0] != 'x' {
		t.Errorf("%q, %v", b[0], err)
	}
	f.Close()
	if _, err := r.Read(); err != os.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// A writer is told why it cannot wait, and that it was not closed; a signal is
// nothing.
func TestPollFails(t *testing.T) {
	f, _ := pair(t)
	defer func() { poll = unix.Poll }()
	for errno, want := range map[unix.Errno]unix.Errno{unix.ENOMEM: unix.ENOMEM, unix.EINVAL: unix.EINVAL, unix.EINTR: 0} {
		calls := 0
		poll = func([]unix.PollFd, int) (int, error) { return 0, errno }
		err := f.Write(time.Hour, func(uintptr) bool { calls++; return calls == 3 })
		if want == 0 && (err != nil || calls != 3) || want != 0 && (!errors.Is(err, want) || errors.Is(err, os.ErrClosed)) {
			t.Errorf("%v: %v after %d calls", errno, err, calls)
		}
	}
}
