//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// cpu is the processor time that a process has used so far, by the scheduler's own
// account in nanoseconds; also what threads used that have ended. The clock's number
// is made as by clock_getcpuclockid(3) (kernel: posix-timers_types.h, CPUCLOCK_SCHED).
func cpu(pid int) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("the processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// rss is the memory that a process has now, in bytes; 0 if it has ended.
func rss(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(l, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// queues is what /proc/net/udp tells of sockets: bytes that wait to be received, and
// datagrams that found no room.
type queues struct{ waiting, dropped int64 }

// queuesOf adds up those of the sockets bound to a port.
func queuesOf(n *nstest.NS, port int) (q queues, err error) {
	err = n.Do(func() error {
		for _, family := range []string{"", "6"} {
			b, err := os.ReadFile("/proc/thread-self/net/udp" + family)
			if err != nil && !os.IsNotExist(err) { // no IPv6: no file
				return err
			}
			q.add(string(b), port)
		}
		return nil
	})
	return q, err
}

// add adds the sockets of a table that are bound to the port. Fields, from 0:
// 1 local address:port, 4 tx_queue:rx_queue, all in hexadecimal, 12 drops.
func (q *queues) add(table string, port int) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 13 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		_, rx, _ := strings.Cut(f[4], ":")
		waiting, _ := strconv.ParseInt(rx, 16, 64)
		dropped, _ := strconv.ParseInt(f[12], 10, 64)
		q.waiting += waiting
		q.dropped += dropped
	}
}

// perEvent is the processor time of each of n events in a stretch of time, without
// what is used anyway, in microseconds.
func perEvent(used time.Duration, idle float64, took time.Duration, n int64) float64 {
	if n <= 0 {
		return 0
	}
	return max(0, used.Seconds()-idle*took.Seconds()) * 1e6 / float64(n)
}
