//go:build linux

// Command bench is what `make bench` runs: it measures our daemon and
// wireguard-go side by side, round by round, and says for each target of the
// project whether it is met.
//
//	go run ./internal/bench [-quick] [-all] [-tests LIST] [-json FILE] [-plot FILE.svg] [NAME=COMMAND ...]
//	go run ./internal/bench -from FILE [-plot FILE.svg]
//
// COMMAND is run as `COMMAND IFNAME` with WG_PROCESS_FOREGROUND=1; it is split
// at blanks. Without any, culvert (built from ./cmd/culvert) and wireguard-go
// (installed with the go command) are measured; with -all also a wireguard-go
// from PATH and a forwarder without cryptography, the floor. The first one is
// judged, against wireguard-go, or else against the last one.
//
// Both daemons of a tunnel and the load generators share one machine, so the
// figures are smaller than between two machines; ratios are what to look at.
// Progress goes to standard error, the result to standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"culvert/internal/nstest"
)

func main() { nstest.Main("bench", parse, bench) }

// options are what to measure, and what to do with it.
type options struct {
	rounds, seconds  int
	all              bool
	tests            []test
	programs         []program
	json, plot, from string
}

// parse reads the command line.
func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 3, "how many times each program is measured, by turns")
	f.IntVar(&o.seconds, "seconds", 2, "length of each throughput measurement in `seconds`")
	quick := f.Bool("quick", false, "one round, of one second each: whether it works, and the rough figures")
	f.BoolVar(&o.all, "all", false, "also measure the wireguard-go in PATH, and the floor")
	names := f.String("tests", strings.Join(defaultTests(), ","), "which tests, `list` separated by commas")
	f.StringVar(&o.json, "json", "", "write every measured value to this `file`")
	f.StringVar(&o.plot, "plot", "", "draw the ratios into this `file`, an SVG")
	f.StringVar(&o.from, "from", "", "measure nothing, take the results of this `file` that -json wrote")
	if err := nstest.ParseFlags(f, args, "bench [flags] [NAME=COMMAND ...]", help()); err != nil {
		return o, err
	}
	if *quick {
		o.rounds, o.seconds = 1, 1
	}
	if o.rounds < 1 || o.seconds < 1 {
		return o, errors.New("-rounds and -seconds must be at least 1")
	}
	return o, o.choose(*names, f.Args())
}

// help is what -help ends with.
func help() string {
	var b strings.Builder
	fmt.Fprintln(&b, "tests:")
	for _, t := range tests {
		fmt.Fprintf(&b, "  %-8s %s\n", t.name, t.doc)
	}
	fmt.Fprintln(&b, "status: 0 all targets met, 1 failed, 2 usage, 3 a target missed")
	return b.String()
}

// choose reads the names of tests and of programs.
func (o *options) choose(names string, programs []string) error {
	for name := range strings.SplitSeq(names, ",") {
		t, ok := testByName(name)
		if !ok {
			return fmt.Errorf("no test %q", name)
		}
		o.tests = append(o.tests, t)
	}
	for _, s := range programs {
		p, err := parseProgram(s)
		if err != nil {
			return err
		}
		o.programs = append(o.programs, p)
	}
	return nil
}

// bench measures everything, or takes what was measured, and reports it; met
// says whether all targets were.
func bench(ctx context.Context, o options) (met bool, err error) {
	if err := nstest.Writable(o.json, o.plot); err != nil {
		return false, err
	}
	var r *results
	if o.from != "" {
		r, err = readResults(o.from)
	} else {
		r, err = run(ctx, o)
	}
	if err != nil {
		return false, err
	}
	r.printTable(os.Stdout)
	fmt.Println()
	met = r.printVerdicts(os.Stdout)
	if o.json != "" {
		err = nstest.WriteJSON(o.json, r)
	}
	if o.plot != "" {
		err = errors.Join(err, r.plot(o.plot))
	}
	for _, f := range r.Failures {
		err = errors.Join(err, errors.New(f))
	}
	return met, err
}

// run measures everything.
func run(ctx context.Context, o options) (*results, error) {
	if err := nstest.Missing("ip", "wg", "ping", "iperf3"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if len(o.programs) == 0 {
		progress("building culvert, and installing wireguard-go %s unless it is there", nstest.WireGuardGoVersion)
		if o.programs, err = defaultPrograms(dir, o.all); err != nil {
			return nil, err
		}
	}
	r := newResults(o)
	if load := loadAverage(); load > busyLoad*float64(r.Machine.Cores) {
		r.note("the machine was busy with something else at the start: load average %s on %d cores", number(load), r.Machine.Cores)
		progress("note: %s", r.Notes[0])
	}
	runAll(ctx, r, schedule(o.rounds, o.tests, o.programs))
	return r, nil
}

// busyLoad is the load average per core above which the machine does something
// else.
const busyLoad = 0.3

// newResults has everything but values.
func newResults(o options) *results {
	r := &results{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: commit(), Machine: thisMachine(),
		Rounds: o.rounds, Seconds: o.seconds,
	}
	for _, p := range o.programs {
		r.Programs = append(r.Programs, p.info())
	}
	r.Against = against(o.programs)
	return r
}

// against is the program the others are compared with.
func against(programs []program) string {
	var names []string
	for _, p := range programs {
		names = append(names, p.Name)
	}
	return nstest.Against(names)
}
