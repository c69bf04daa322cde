//go:build linux

// Command bench is what `make bench` runs: it measures our daemon and
// wireguard-go side by side, round by round, and says for each target of the
// project whether it is met.
//
//	go run ./internal/bench [-rounds 3] [-seconds 4] [-tests LIST] [-json FILE] [NAME=COMMAND ...]
//
// COMMAND is run as `COMMAND IFNAME` with WG_PROCESS_FOREGROUND=1; it is split
// at blanks. Without any, culvert (built from ./cmd/culvert) and wireguard-go
// (installed with the go command) are measured. The first one is judged, and
// compared with the last one.
//
// Both daemons of a tunnel and the load generators share one machine, so the
// figures are smaller than between two machines; ratios are what to look at.
// Progress goes to standard error, the result to standard output.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"culvert/internal/nstest"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how many times each daemon is measured, by turns")
	flag.IntVar(&o.seconds, "seconds", 4, "length of each throughput measurement in `seconds`")
	tests := flag.String("tests", strings.Join(testNames(), ","), "which tests, `list` separated by commas")
	file := flag.String("json", "", "write every measured value to this `file`")
	flag.Usage = usage
	flag.Parse()
	if err := o.choose(*tests, flag.Args()); err != nil || o.rounds < 1 || o.seconds < 1 {
		fmt.Fprintln(os.Stderr, "bench:", errors.Join(err, errors.New("see -help")))
		os.Exit(2)
	}
	interrupted := cleanUpOnSignal()
	met, err := bench(o, *file)
	select {
	case <-interrupted:
		select {} // err is only the echo of it; the process is about to end
	default:
	}
	if closed := nstest.CloseAll(); err == nil {
		err = closed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if !met {
		os.Exit(3)
	}
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: bench [flags] [NAME=COMMAND ...]")
	flag.PrintDefaults()
	for _, t := range tests {
		fmt.Fprintf(flag.CommandLine.Output(), "  %-6s %s\n", t.name, t.doc)
	}
	fmt.Fprintln(flag.CommandLine.Output(), "status: 0 all targets met, 1 failed, 2 usage, 3 a target missed")
}

// cleanUpOnSignal ends the process on ctrl-C, with everything removed. The
// channel is closed when that has begun.
func cleanUpOnSignal() <-chan struct{} {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	interrupted := make(chan struct{})
	go func() { // ends with the process
		<-stop
		close(interrupted)
		nstest.CloseAll()
		os.Exit(130)
	}()
	return interrupted
}

// options are what to measure.
type options struct {
	rounds, seconds int
	tests           []test
	programs        []nstest.Program
}

// choose reads the names of tests and of daemons.
func (o *options) choose(names string, daemons []string) error {
	for name := range strings.SplitSeq(names, ",") {
		t, ok := testByName(name)
		if !ok {
			return fmt.Errorf("no test %q: there are %s", name, strings.Join(testNames(), ", "))
		}
		o.tests = append(o.tests, t)
	}
	for _, d := range daemons {
		name, command, ok := strings.Cut(d, "=")
		if args := strings.Fields(command); ok && name != "" && len(args) > 0 {
			o.programs = append(o.programs, nstest.Program{Name: name, Args: args})
			continue
		}
		return fmt.Errorf("%q is not NAME=COMMAND", d)
	}
	return nil
}

// bench measures everything and reports it; met says whether all targets were.
func bench(o options, file string) (met bool, err error) {
	if err := nstest.Missing("ip", "wg", "ping", "iperf3"); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if len(o.programs) == 0 {
		progress("building culvert and installing wireguard-go %s", nstest.WireGuardGoVersion)
		ours, err := nstest.Culvert(dir)
		if err != nil {
			return false, err
		}
		theirs, err := nstest.WireGuardGo()
		if err != nil {
			return false, err
		}
		o.programs = []nstest.Program{ours, theirs}
	}
	r := newResults(o)
	for round := range o.rounds {
		for _, p := range o.programs {
			if err := measure(r, o, p, round); err != nil {
				return false, fmt.Errorf("%s, round %d: %w", p.Name, round+1, err)
			}
		}
	}
	r.printTable(os.Stdout)
	met = r.printVerdicts(os.Stdout)
	if file != "" {
		err = r.writeJSON(file)
	}
	return met, err
}

// measure runs all tests once with one daemon, each in a tunnel of its own, so
// that none finds what another left.
func measure(r *results, o options, p nstest.Program, round int) error {
	for _, t := range o.tests {
		values, err := runTest(t, o, p)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		progress("round %d/%d %-14s %-6s %s", round+1, o.rounds, p.Name, t.name, values)
		r.add(p.Name, values)
	}
	return nil
}

func runTest(t test, o options, p nstest.Program) (values, error) {
	tunnel, err := newTunnel(p)
	if err != nil {
		return nil, err
	}
	defer tunnel.close()
	v, err := t.run(tunnel, o)
	if err != nil {
		return nil, err
	}
	return v, tunnel.close()
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
