//go:build linux

// Command scale is what `make scale` runs: it measures what many peers cost our
// daemon and wireguard-go, idle and in the storms they make, and says for each bound
// of the project whether it is kept.
//
//	go run ./internal/scale [-quick] [-peers LIST] [-clients N] [-tests LIST] [-connected N] [-floods LIST] [-rate N] [-json FILE] [NAME=COMMAND ...]
//
// COMMAND is run as `COMMAND IFNAME` with WG_PROCESS_FOREGROUND=1; it is split at
// blanks. Without any, culvert (built from ./cmd/culvert) and wireguard-go (installed
// with the go command) are measured. The first one is judged, against wireguard-go,
// or else against the last one; the others are not measured with more peers than
// -others.
//
// The clients (internal/load) share the machine with the daemon, so rates are smaller
// than between two machines. What is judged is the daemon's own processor time per
// event. Progress goes to standard error, the result to standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

func main() { nstest.Main("scale", parse, scale) }

// maxSeconds lets no session be 3 minutes old before the last test that needs it.
const maxSeconds = 20

// maxInterval lets the clients' session be good for all the time that they are watched.
const maxInterval = 30

// options are what to measure.
type options struct {
	sizes    []int // numbers of idle peers
	others   int   // most of them for all but the first program
	clients  int   // of the tests
	tests    []test
	underWay int     // of the clients of a storm
	rate     float64 // 0: each test's own
	length   time.Duration
	idle     time.Duration // that the most idle peers of the first program are left alone
	// Peers with a persistent keepalive, in seconds.
	connected, interval int
	// Floods beside a stream.
	floods                []load.Kind
	rounds, streamSeconds int
	json                  string
	programs              []nstest.Program
}

// parse reads the command line.
func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	sizes := f.String("peers", "1000,10000,60000,200000,1000000", "numbers of idle peers, `list` separated by commas; empty: none")
	f.IntVar(&o.others, "others", 60_000, "most idle peers for programs other than the first")
	f.IntVar(&o.clients, "clients", 20_000, "clients of the tests")
	names := f.String("tests", strings.Join(testNames(), ","), "which tests, `list` separated by commas; empty: none")
	f.IntVar(&o.underWay, "under-way", 64, "clients of a storm that wait for a response at one time; thousands put the daemon under load")
	f.Float64Var(&o.rate, "rate", 0, "so many events a `second` in every test and flood; 0: what the test says")
	idle := f.Float64("idle", 130, "how long the most idle peers are left alone, in `seconds`: Go collects every 120")
	f.IntVar(&o.connected, "connected", 10_000, "peers with a session and a persistent keepalive; 0: none")
	f.IntVar(&o.interval, "keepalive", 25, "that keepalive in `seconds`; they are watched for two of it, after two more")
	floods := f.String("floods", "bad-mac1,unknown-key,replays,duplicates", "kinds of floods beside TCP streams, `list` separated by commas; empty: none")
	seconds := f.Float64("seconds", 5, "length of each test in `seconds`")
	quick := f.Bool("quick", false, "fewer peers, and all is short: whether it works, and the rough figures")
	f.StringVar(&o.json, "json", "", "write everything that was measured to this `file`")
	if err := nstest.ParseFlags(f, args, "scale [flags] [NAME=COMMAND ...]", help()); err != nil {
		return o, err
	}
	o.rounds, o.streamSeconds = 3, 2
	if *quick {
		*sizes, o.others, o.clients, *seconds = "1000,100000", 1000, 1000, 0.5
		*idle, o.connected, o.interval, o.rounds, o.streamSeconds = 3, 1000, 5, 1, 1
	}
	if o.connected < 0 || o.connected > maxPeers || o.interval < 1 || o.interval > maxInterval || !(*idle >= 0 && *idle <= 3600) {
		return o, fmt.Errorf("-connected must be from 0 to %d, -keepalive from 1 to %d, and -idle from 0 to 3600", maxPeers, maxInterval)
	}
	o.idle = time.Duration(*idle * float64(time.Second))
	if o.clients < 1 || o.clients > maxPeers || o.underWay < 1 || o.rate < 0 || !(*seconds > 0 && *seconds <= maxSeconds) {
		return o, fmt.Errorf("-clients must be from 1 to %d, -under-way at least 1, -rate not negative, and -seconds above 0 and at most %d", maxPeers, maxSeconds)
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	return o, o.choose(*sizes, *names, *floods, f.Args())
}

// help is what -help ends with.
func help() string {
	var b strings.Builder
	fmt.Fprintln(&b, "tests:")
	for _, t := range tests {
		fmt.Fprintf(&b, "  %-18s %s\n", t.name, t.doc)
	}
	fmt.Fprintln(&b, "floods:", strings.Join(floodNames(), ", "))
	fmt.Fprintln(&b, "status: 0 all bounds kept, 1 failed, 2 usage, 3 a bound not kept")
	return b.String()
}

// choose reads the lists and the programs.
func (o *options) choose(sizes, names, floods string, programs []string) error {
	for _, s := range list(sizes) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPeers {
			return fmt.Errorf("-peers: %q is not a number from 1 to %d", s, maxPeers)
		}
		o.sizes = append(o.sizes, n)
	}
	for _, name := range list(names) {
		i := slices.IndexFunc(tests, func(t test) bool { return t.name == name })
		if i < 0 {
			return fmt.Errorf("no test %q", name)
		}
		o.tests = append(o.tests, tests[i])
	}
	for _, name := range list(floods) {
		if !isFlood(name) {
			return fmt.Errorf("no flood %q", name)
		}
		o.floods = append(o.floods, load.Kind(name))
	}
	for _, s := range programs {
		p, err := nstest.ParseProgram(s)
		if err != nil {
			return err
		}
		o.programs = append(o.programs, p)
	}
	return nil
}

// list splits at commas; nothing is an empty list.
func list(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' })
}

// scale measures everything and reports it; kept says whether all bounds are.
func scale(ctx context.Context, o options) (kept bool, err error) {
	need := []string{"ip"}
	if len(o.floods) > 0 {
		need = append(need, "iperf3")
	}
	if err := errors.Join(nstest.Missing(need...), nstest.Writable(o.json)); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "culvert-scale-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if len(o.programs) == 0 {
		progress("building culvert, and installing wireguard-go %s unless it is there", nstest.WireGuardGoVersion)
		if o.programs, err = nstest.Programs(dir); err != nil {
			return false, err
		}
	}
	r := newResults(&o)
	failed := r.measure(ctx, &o)
	r.judge()
	err = r.print(os.Stdout)
	if o.json != "" {
		err = errors.Join(err, nstest.WriteJSON(o.json, r))
	}
	return r.kept(), errors.Join(failed, err)
}

// measure measures all programs with everything, by turns.
func (r *results) measure(ctx context.Context, o *options) (failed error) {
	for _, n := range o.sizes {
		for i, p := range o.programs {
			if i > 0 && n > o.others {
				continue
			}
			idle := min(o.idle, 3*time.Second)
			if i == 0 && n == slices.Max(o.sizes) {
				idle = o.idle
			}
			progress("%s with %d idle peers", p.Name, n)
			s, err := measureSize(p, n, idle)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s with %d idle peers: %w", p.Name, n, err))
				continue
			}
			r.Sizes = append(r.Sizes, s)
		}
	}
	var err [3]error
	if o.connected > 0 {
		r.Connected, err[0] = measureConnected(ctx, o)
	}
	if len(o.tests) > 0 {
		r.Events, err[1] = measureEvents(ctx, o)
	}
	if len(o.floods) > 0 {
		r.Floods, err[2] = measureFloods(ctx, o)
	}
	return errors.Join(failed, err[0], err[1], err[2])
}

// progress tells what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "scale: "+format+"\n", args...)
}
