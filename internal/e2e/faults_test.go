//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// Faults of the real system at a daemon's edges. After each it lives, traffic is back
// without anybody's help, what happened is seen in the status, and nothing is left
// open.

// vitals are what the status says of faults.
type vitals struct {
	PID           int
	Goroutines    int
	SocketError   string            `json:"socket_error"`
	Failures      int               `json:"socket_failures"`
	Reopened      int               `json:"sockets_reopened"`
	Evicted       int               `json:"uapi_clients_evicted"`
	AcceptErrors  int               `json:"uapi_accept_errors"`
	StampFailures int               `json:"state_save_errors"`
	Drops         map[string]uint64 `json:"drops"`
}

func vitalsOf(t *testing.T, h *nstest.Host) (v vitals) {
	t.Helper()
	must(t, json.Unmarshal([]byte(command(t, h.NS, daemon("status", "--json", h.WG)...)), &v))
	return v
}

// descriptors are the numbers of open files of a process, in order.
func descriptors(t *testing.T, pid int) (fds []int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", itoa(pid), "fd"))
	must(t, err)
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		must(t, err)
		fds = append(fds, n)
	}
	slices.Sort(fds)
	return fds
}

// openNow is how many files a daemon has open, with the one that is opened for the
// first status.
func openNow(t *testing.T, h *nstest.Host) int {
	t.Helper()
	vitalsOf(t, h)
	return len(descriptors(t, h.Daemon.PID))
}

// limitDescriptors lets a process open so many more files, and gives its old limit.
func limitDescriptors(t *testing.T, pid, spare int) (old unix.Rlimit) {
	t.Helper()
	open := descriptors(t, pid)
	limit := 0
	for free := spare; slices.Contains(open, limit) || free > 0; limit++ {
		if !slices.Contains(open, limit) {
			free--
		}
	}
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: old.Max}, nil))
	return old
}

// settled waits until a daemon has no more descriptors than before.
func settled(t *testing.T, h *nstest.Host, before int) {
	t.Helper()
	if nstest.Eventually(patience, func() bool { return len(descriptors(t, h.Daemon.PID)) <= before }) {
		return
	}
	var open []string
	for _, fd := range descriptors(t, h.Daemon.PID) {
		to, _ := os.Readlink(filepath.Join("/proc", itoa(h.Daemon.PID), "fd", itoa(fd)))
		open = append(open, to)
	}
	t.Fatalf("more than %d descriptors are open: %v", before, open)
}

// Without descriptors the interface comes up without sockets; they are opened when
// there are descriptors again, and nobody has to ask.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{bothKnow: true})
	pings(t, p.left.NS, rightTun4, 1)
	before := openNow(t, p.left)
	must(t, p.left.IP("link set "+p.left.WG+" down"))
	settled(t, p.left, before-8) // two sockets, what wakes and waits for each, and two of netlink
	old := limitDescriptors(t, p.left.Daemon.PID, 1)
	must(t, p.left.IP("link set "+p.left.WG+" up"))
	eventually(t, patience, "the status tells why there are no sockets", func() bool {
		return strings.Contains(vitalsOf(t, p.left).SocketError, syscall.EMFILE.Error())
	})
	must(t, unix.Prlimit(p.left.Daemon.PID, unix.RLIMIT_NOFILE, &old, nil))
	eventually(t, reopening, "the sockets are open", func() bool { v := vitalsOf(t, p.left); return v.Reopened == 1 && v.SocketError == "" })
	pings(t, p.left.NS, rightTun4, 2)
	settled(t, p.left, before)

	old = limitDescriptors(t, p.left.Daemon.PID, 0)
	done := make(chan string, 1)
	go func() { out, _ := p.left.Run("wg", "show", p.left.WG, "listen-port"); done <- out }() // ends when it is answered
	eventually(t, patience, "the log tells of a client that cannot be accepted", func() bool {
		return strings.Contains(p.left.Daemon.Stderr(), "cannot accept a client")
	})
	pings(t, p.left.NS, rightTun4, 2)
	must(t, unix.Prlimit(p.left.Daemon.PID, unix.RLIMIT_NOFILE, &old, nil))
	if out := strings.TrimSpace(<-done); out != fmt.Sprint(leftPort) {
		t.Errorf("the client that waited got %q", out)
	}
	if v := vitalsOf(t, p.left); v.AcceptErrors == 0 {
		t.Errorf("%+v", v)
	}
	settled(t, p.left, before)
}

// reopening is how long sockets may be missing after the reason is gone: the tries
// are 1, 2, 4 and 8 s apart.
const reopening = 20 * time.Second

// The interface is deleted, its link set down and up, while traffic runs.
func TestInterfaceGoesUnderTraffic(t *testing.T) {
	t.Run("down and up", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{bothKnow: true})
		pings(t, p.left.NS, rightTun4, 1)
		before := openNow(t, p.left)
		_, err := p.right.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-f", leftTun4}})
		must(t, err)
		for range 10 {
			must(t, p.left.IP("link set "+p.left.WG+" down", "link set "+p.left.WG+" up"))
		}
		pings(t, p.left.NS, rightTun4, 2)
		settled(t, p.left, before)
	})
	for _, env := range []string{"CULVERT_QUEUES=1", "CULVERT_QUEUES=3"} {
		t.Run("deleted, with "+env, func(t *testing.T) {
			t.Parallel()
			several := ours
			several.Env = append(several.Env[:len(several.Env):len(several.Env)], env)
			p := newPair(t, options{left: several, bothKnow: true})
			pings(t, p.left.NS, rightTun4, 1)
			stream, err := nstest.StartIperf(p.left.NS, p.right.NS, rightTun4, "-t", "30", "-P", "2", "--bidir")
			must(t, err)
			moved := func() bool { return peer(t, p.left, p.right).TX > 8<<20 }
			eventually(t, patience, "traffic", moved)
			must(t, p.left.IP("link del "+p.left.WG))
			endsWell(t, p.left)
			must(t, stream.Stop())
		})
	}
}

// The link below the tunnel is deleted while traffic runs, and another one takes its
// place: the sockets are none the worse.
func TestUnderlayDeleted(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{bothKnow: true})
	pings(t, p.left.NS, rightTun4, 1)
	before := openNow(t, p.left)
	_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-i", "0.01", rightTun4}})
	must(t, err, p.left.IP("link del "+leftVeth))
	eventually(t, patience, "the failures are counted", func() bool { return vitalsOf(t, p.left).Drops["send_error"] > 10 })
	must(t,
		nstest.Join(p.left.NS, leftVeth, p.right.NS, rightVeth, 1500),
		p.left.IP(nstest.AddAddress(leftIP4+"/24", leftVeth)), p.right.IP(nstest.AddAddress(rightIP4+"/24", rightVeth)),
	)
	pings(t, p.left.NS, rightTun4, 2)
	if v := vitalsOf(t, p.left); v.Failures != 0 || v.Reopened != 0 {
		t.Errorf("the sockets were replaced: %+v", v)
	}
	if n := strings.Count(p.left.Daemon.Stderr(), "cannot send"); n == 0 || n > 3 {
		t.Errorf("%d lines about it in the log", n)
	}
	settled(t, p.left, before)
}

// IPv6 is switched off and on again under a tunnel over it.
func TestIPv6GoesAndComes(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{outer6: true, bothKnow: true})
	pings(t, p.left.NS, rightTun4, 1)
	before := openNow(t, p.left)
	must(t, p.left.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"))
	if n := ping(t, p.left.NS, rightTun4, 2, "-W", "0.3"); n != 0 {
		t.Errorf("%d answered over an IPv6 that is off", n)
	}
	if d := vitalsOf(t, p.left).Drops["send_error"]; d == 0 {
		t.Error("nothing is counted")
	}
	must(t,
		p.left.Sysctl("net/ipv6/conf/all/disable_ipv6", "0"),
		p.left.IP(nstest.AddAddress(leftIP6+"/64", leftVeth)), p.left.Ready(leftIP6),
	)
	pings(t, p.left.NS, rightTun4, 2)
	settled(t, p.left, before)
}

// A daemon that was stopped for seconds goes on where it was.
func TestStoppedForSeconds(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{bothKnow: true})
	pings(t, p.left.NS, rightTun4, 1)
	before := vitalsOf(t, p.left)
	must(t, p.left.Daemon.Signal(syscall.SIGSTOP))
	if n := ping(t, p.right.NS, leftTun4, 5, "-i", "0.5", "-W", "0.1"); n != 0 {
		t.Errorf("%d answered", n)
	}
	must(t, p.left.Daemon.Signal(syscall.SIGCONT))
	pings(t, p.right.NS, leftTun4, 3)
	pings(t, p.left.NS, rightTun4, 3)
	if after := vitalsOf(t, p.left); after.Failures != 0 || after.Goroutines > before.Goroutines+2 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
