//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// target is the far end inside the tunnel.
const target = "10.98.0.2"

// tunnel is two hosts, a daemon on each, joined by a veth.
type tunnel struct {
	lab         *nstest.Lab
	left, right *nstest.Host
}

// newTunnel makes a tunnel with a live session.
func newTunnel(p nstest.Program) (t *tunnel, err error) {
	lab, err := nstest.New()
	if err != nil {
		return nil, err
	}
	t = &tunnel{lab: lab}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.left, err = lab.NewHost("left"); err != nil {
		return nil, err
	}
	if t.right, err = lab.NewHost("right"); err != nil {
		return nil, err
	}
	if err = nstest.Join(t.left.NS, "eth0", t.right.NS, "eth0", 1500); err != nil {
		return nil, err
	}
	for i, h := range []*nstest.Host{t.left, t.right} {
		other := []*nstest.Host{t.right, t.left}[i]
		if err = t.setUp(p, h, other, i+1, 2-i); err != nil {
			return nil, err
		}
	}
	_, err = t.left.Run("ping", "-n", "-q", "-c", "20", "-i", "0.01", "-W", "5", target)
	return t, err
}

// setUp starts and configures host number i, whose peer is number j.
func (t *tunnel) setUp(p nstest.Program, h, other *nstest.Host, i, j int) error {
	if err := h.IP(fmt.Sprintf("addr add 10.99.0.%d/24 dev eth0", i)); err != nil {
		return err
	}
	if err := h.StartDaemon(p); err != nil {
		return err
	}
	if err := h.Configure(fmt.Sprintf("ListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.98.0.%d/32\nEndpoint = 10.99.0.%d:%d\n",
		51820+i, other.Public, j, j, 51820+j)); err != nil {
		return err
	}
	return h.Up(1420, fmt.Sprintf("10.98.0.%d/24", i))
}

func (t *tunnel) close() error { return t.lab.Close() }

func (t *tunnel) pids() []int { return []int{t.left.Daemon.PID, t.right.Daemon.PID} }

// cpu is the processor time both daemons have used, all their threads. It is
// the scheduler's own account in nanoseconds where the kernel keeps one, else
// ticks of 10 ms.
func (t *tunnel) cpu() (sum time.Duration) {
	for _, pid := range t.pids() {
		if d, ok := schedstat(pid); ok {
			sum += d
		} else {
			sum += ticks(pid)
		}
	}
	return sum
}

// schedstat adds up the first field of every task's schedstat. A thread that
// has ended takes its time with it: Go's threads rarely do.
func schedstat(pid int) (sum time.Duration, ok bool) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		if f := strings.Fields(string(b)); len(f) == 3 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum, sum > 0
}

// ticks reads utime and stime, fields 14 and 15 of proc(5)'s stat, in
// USER_HZ, which is 100 on every architecture Go runs on.
func ticks(pid int) time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory reads a line such as VmRSS or VmHWM of the larger daemon, in MiB.
func (t *tunnel) memory(line string) (mib float64) {
	for _, pid := range t.pids() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for l := range strings.Lines(string(b)) {
			var kib int64
			if _, err := fmt.Sscanf(l, line+": %d kB", &kib); err == nil {
				mib = max(mib, float64(kib)/1024)
			}
		}
	}
	return mib
}
