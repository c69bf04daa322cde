//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls counts the system calls of both daemons while a TCP stream, UDP at a
// rate that every daemon can do, and a trickle run. It is a test of its own
// because the tracepoint makes every system call slower, the more the more
// calls a daemon makes.
func calls(t *tunnel, s *session) (values, error) {
	id, err := syscallTracepoint()
	if err != nil {
		s.notes.note("system calls are not counted: %v", err)
		return values{}, nil
	}
	v := values{}
	for _, l := range []struct {
		name string
		run  func() (packets int64, err error)
	}{
		{"TCP 1 stream", func() (int64, error) {
			r, _, err := load(t, 1)
			return r.Bytes / tcpPayload, err
		}},
		{"UDP 1200 B", func() (int64, error) {
			_, n, err := offer(t, s, 1200, callsRate, udpGap, 1)
			return n, err
		}},
		{"trickle 5k/s", func() (int64, error) {
			_, n, err := offer(t, s, trickleSize, trickleRates[0].rate, 0, 1)
			return n, err
		}},
	} {
		c, err := countCalls(id, t.left.Daemon.PID, t.right.Daemon.PID)
		if err != nil {
			s.notes.note("system calls are not counted: %v", err)
			return values{}, nil
		}
		packets, err := l.run()
		n, failed := c.read()
		c.close()
		if err == nil {
			err = failed
		}
		if err != nil {
			return nil, err
		}
		v[l.name+" syscalls/packet"] = float64(n) / float64(max(1, packets))
	}
	return v, nil
}

// callsRate is that of the UDP whose system calls are counted, in packets a
// second.
const callsRate = 15e3

// callCounter counts the system calls of processes: one event of the kernel
// for each thread, inherited by the threads it starts.
type callCounter []int

// countCalls begins to count. Threads that another thread starts in the very
// moment of the call may be missed or counted twice.
func countCalls(tracepoint uint64, pids ...int) (c callCounter, err error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: tracepoint, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	for _, pid := range pids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, thread := range threads {
			tid, _ := strconv.Atoi(filepath.Base(thread))
			fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err == unix.ESRCH {
				continue // it has ended
			}
			if err != nil {
				c.close()
				return nil, fmt.Errorf("perf_event_open: %w", err)
			}
			c = append(c, fd)
		}
	}
	return c, nil
}

func (c callCounter) read() (sum uint64, err error) {
	for _, fd := range c {
		var b [8]byte
		if _, err := unix.Read(fd, b[:]); err != nil {
			return 0, fmt.Errorf("reading a perf event: %w", err)
		}
		sum += binary.NativeEndian.Uint64(b[:])
	}
	return sum, nil
}

func (c callCounter) close() {
	for _, fd := range c {
		unix.Close(fd)
	}
}

// tracefs is where it is usually mounted.
const tracefs = "/sys/kernel/tracing"

// syscallTracepoint is the number of the tracepoint at the start of every
// system call. If tracefs is not mounted, it is for a moment, where nobody else
// sees it: in a mount namespace of a thread that ends afterwards.
func syscallTracepoint() (id uint64, err error) {
	if id, err = readTracepoint(); err == nil {
		return id, nil
	}
	done := make(chan struct{})
	go func() { // ends with what it does, and its thread with it
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		if err = unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err == nil {
			id, err = readTracepoint()
		}
	}()
	<-done
	if err != nil {
		err = fmt.Errorf("no tracefs: %w", err)
	}
	return id, err
}

func readTracepoint() (uint64, error) {
	b, err := os.ReadFile(tracefs + "/events/raw_syscalls/sys_enter/id")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
