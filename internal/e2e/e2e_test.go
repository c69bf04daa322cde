//go:build linux

// Package e2e tests the daemon as a user meets it: the program is started in
// network namespaces, configured with wg(8) and ip(8), and carries real
// traffic to another daemon, ours or wireguard-go.
//
// The tests need root, /dev/net/tun and the programs named in TestMain. What is
// missing is said and the tests are skipped; with CULVERT_E2E=require that is a
// failure. CULVERT and WIREGUARD_GO name binaries to use in place of built ones.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// patience bounds the wait for things that normally take milliseconds.
const patience = 10 * time.Second

// ours is the daemon under test.
var ours nstest.Program

// skipReason says why no test can run here.
var skipReason string

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "4") // the tests wait more than they work
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() { // ends with the process
		<-stop
		nstest.CloseAll()
		os.Exit(130)
	}()
	dir, err := os.MkdirTemp("", "culvert-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := nstest.Missing("ip", "wg", "wg-quick", "nft", "ping", "iperf3", "setpriv"); err != nil {
		skipReason = strings.ReplaceAll(err.Error(), "\n", "; ")
	} else if ours, err = nstest.Culvert(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// A race found by a daemon built with -race fails the test; the log is
	// shown when a test fails.
	ours.Env = []string{"GORACE=halt_on_error=1", "LOG_LEVEL=debug"}
	if skipReason != "" {
		fmt.Fprintln(os.Stderr, "end-to-end tests are skipped:", skipReason)
		if os.Getenv("CULVERT_E2E") == "require" {
			return 1
		}
	}
	code := m.Run()
	if err := nstest.CloseAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// theirs is wireguard-go; the test is skipped where it cannot be had.
func theirs(t *testing.T) nstest.Program {
	t.Helper()
	p, err := nstest.WireGuardGo()
	if err != nil {
		if os.Getenv("CULVERT_E2E") == "require" {
			t.Fatal(err)
		}
		t.Skip("wireguard-go cannot be installed: ", err)
	}
	return p
}

// newLab makes a lab that is removed at the end of the test; a process that
// does not end on SIGTERM fails the test.
func newLab(t *testing.T) *nstest.Lab {
	t.Helper()
	if skipReason != "" {
		t.Skip(skipReason)
	}
	l, err := nstest.New()
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// command runs a command in the namespace and returns its standard output.
func command(t *testing.T, n *nstest.NS, args ...string) string {
	t.Helper()
	out, err := n.Run(args...)
	must(t, err)
	return out
}

// eventually fails the test unless cond becomes true in time.
func eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !nstest.Eventually(within, cond) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// ping sends count echo requests and returns how many were answered. It waits
// for the last answer twice as long as the slowest one took, but at least as
// long as the time between two requests, which is why that is not shorter.
func ping(t *testing.T, from *nstest.NS, to string, count int, args ...string) int {
	t.Helper()
	args = append([]string{"ping", "-n", "-q", "-c", fmt.Sprint(count), "-i", "0.2", "-W", "10"}, args...)
	out, err := from.Run(append(args, to)...)
	_, rest, _ := strings.Cut(out, "transmitted, ")
	var answered int
	if _, scan := fmt.Sscanf(rest, "%d received", &answered); scan != nil {
		t.Fatalf("ping %s: %v: %s", to, err, out)
	}
	return answered
}

// pings fails the test unless the first count echo requests are answered, within 10 s.
// Unlike ping it gives a machine that is busy the time: with a deadline ping(8) goes on
// until it has as many answers, and which they are, it says line by line.
func pings(t *testing.T, from *nstest.NS, to string, count int, args ...string) {
	t.Helper()
	args = append([]string{"ping", "-n", "-c", fmt.Sprint(count), "-i", "0.2", "-w", "10"}, args...)
	out, err := from.Run(append(args, to)...)
	answered := map[int]bool{}
	for line := range strings.Lines(out) {
		_, rest, ok := strings.Cut(line, " bytes from ")
		_, rest, ok2 := strings.Cut(rest, " icmp_seq=")
		var seq int
		if _, scan := fmt.Sscanf(rest, "%d", &seq); ok && ok2 && scan == nil && seq <= count {
			answered[seq] = true
		}
	}
	if len(answered) != count {
		t.Fatalf("ping %s: %d of the first %d answered, %v: %s", to, len(answered), count, err, out)
	}
}

// iperf runs iperf3 and fails the test unless it succeeds.
func iperf(t *testing.T, client, server *nstest.NS, to string, args ...string) nstest.Transfer {
	t.Helper()
	r, err := nstest.RunIperf(30*time.Second, client, server, to, args...)
	must(t, err)
	return r
}

// peer reads what wg(8) shows about the other host.
func peer(t *testing.T, of *nstest.Host, other *nstest.Host) nstest.PeerStatus {
	t.Helper()
	peers, err := of.Peers()
	must(t, err)
	p, ok := peers[other.Public]
	if !ok {
		t.Fatalf("%s has no peer %s", of.Label, other.Label)
	}
	return p
}
