//go:build linux

package e2e

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// besideBudget is what a daemon with few peers takes beside the budget for
// packets, in MiB: 6 of program text and constants that were touched, 1 of libc if it
// was built with it, 1 of the runtime's own, 4 of heap.
const besideBudget = 12

// memory reads a line such as VmRSS or VmHWM of /proc/PID/status, in MiB.
func memory(t *testing.T, of *nstest.Host, line string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", of.Daemon.PID))
	must(t, err)
	for l := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(l, line+": %d kB", &kib); err == nil {
			return float64(kib) / 1024
		}
	}
	t.Fatalf("no %s in the status of process %d", line, of.Daemon.PID)
	return 0
}

// withMemory is our daemon with a budget in MiB, 0: as by default, and workers
// even on two cores. The test is skipped if it has a race detector, whose memory
// nobody bounds.
func withMemory(t *testing.T, mib int) nstest.Program {
	t.Helper()
	if skipReason != "" {
		t.Skip(skipReason)
	}
	info, err := buildinfo.ReadFile(ours.Args[0])
	must(t, err)
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			t.Skip("the daemon has a race detector")
		}
	}
	p := ours
	p.Env = append(p.Env[:len(p.Env):len(p.Env)], "CULVERT_WORKERS=4", fmt.Sprintf("CULVERT_MEMORY=%d", mib))
	return p
}

// overload sends more than the tunnel can carry, of all kinds.
func (p *pair) overload(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"-t", "1", "-P", "8", "--bidir"},
		{"-t", "1", "-u", "-b", "0", "-l", "1200"},
		{"-t", "1", "-u", "-b", "0", "-l", "32", "-P", "2", "-R"},
	} {
		iperf(t, p.left.NS, p.right.NS, rightTun4, args...)
	}
}

// afterLoad is how much more a daemon keeps when the load is over, in MiB: a receive
// batch for each of two sockets, an arena or two, and heap that the next collection
// frees.
const afterLoad = 5

// However much comes, the daemon takes no more than the budget and a constant. When it
// is over the memory goes back to the system: with 64 MiB and workers to use them there
// is much of it.
func TestMemory(t *testing.T) {
	for _, mib := range []int{4, 0, 64} {
		t.Run(fmt.Sprintf("CULVERT_MEMORY=%d", mib), func(t *testing.T) {
			program := withMemory(t, mib)
			p := newPair(t, options{left: program, right: program})
			pings(t, p.left.NS, rightTun4, 2)
			hosts := []*nstest.Host{p.left, p.right}
			var idle [2]float64
			for i, h := range hosts {
				idle[i] = memory(t, h, "VmRSS")
			}
			p.overload(t)
			budget := float64(orElse(mib, 2+2*runtime.NumCPU()))
			for i, h := range hosts {
				if most := memory(t, h, "VmHWM"); most > budget+besideBudget {
					t.Errorf("%s: %.1f MiB at the most, with a budget of %.0f", h.Label, most, budget)
				} else {
					t.Logf("%s: %.1f MiB idle, at the most %.1f with a budget of %.0f", h.Label, idle[i], most, budget)
				}
			}
			for i, h := range hosts {
				eventually(t, 20*time.Second, "the memory is back", func() bool { return memory(t, h, "VmRSS") < idle[i]+afterLoad })
			}
			pings(t, p.left.NS, rightTun4, 2)
		})
	}
}
