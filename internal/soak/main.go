//go:build linux

// Command soak is what `make soak` runs: two of our daemons carry traffic for minutes
// or days while all kinds of things happen to them, and it watches that nothing grows
// and nothing is lost that no counter tells of.
//
//	go run ./internal/soak [-minutes N] [-phase SECONDS] [-rate N] [-json FILE] [NAME=COMMAND]
//
// Time goes in phases: traffic both ways over IPv4 and IPv6, one thing that happens
// meanwhile (disturb.go), a pause, a sample of both daemons. Of a phase whose
// disturbance loses nothing, every packet that did not arrive must be in a counter of
// drops: the daemons', or the system's. After any other one traffic must be back within
// 15 s. At the end the samples are judged (judge.go): descriptors, goroutines, memory
// and what the daemons hold of sessions must be flat.
//
// Disturbances that lose packets end sessions, too, or make new ones. Keys are renewed by
// their age, 120 s, where the others together take longer: with a phase of 30 s or more.
// The same for days in minutes is what tests in virtual time are for. Progress goes to standard error, the result to
// standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"culvert/internal/nstest"
)

func main() { nstest.Main("soak", parse, soak) }

// options are how long, how fast, and what is run.
type options struct {
	length  time.Duration
	phase   time.Duration // of traffic
	rate    int           // packets a second of each of four flows
	json    string
	program nstest.Program // none: culvert, built
}

// Bounds of the options: a phase has to have time for its disturbance, and its
// packets have to fit into the receivers' buffers while a busy machine runs others.
const (
	maxMinutes = 60 * 24 * 30
	minPhase   = 0.2
	maxPhase   = 3600
	maxRate    = 20_000
)

// status is what -help ends with.
const status = "The program is run as COMMAND IFNAME; culvert, built, if none is given.\nstatus: 0 nothing found, 1 failed, 2 usage, 3 something found\n"

// parse reads the command line.
func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	minutes := f.Float64("minutes", 1, "how long, in `minutes`; every disturbance comes at least once")
	phase := f.Float64("phase", 2, "length of each phase in `seconds`")
	f.IntVar(&o.rate, "rate", 1000, "packets a second of each of the four flows")
	f.StringVar(&o.json, "json", "", "write the result and all samples to this `file`")
	if err := nstest.ParseFlags(f, args, "soak [flags] [NAME=COMMAND]", status); err != nil {
		return o, err
	}
	if !(*minutes >= 0 && *minutes <= maxMinutes) || !(*phase >= minPhase && *phase <= maxPhase) || o.rate < 100 || o.rate > maxRate || f.NArg() > 1 {
		return o, fmt.Errorf("-minutes must be from 0 to %d, -phase from %v to %d, -rate from 100 to %d, and there is one program", maxMinutes, minPhase, maxPhase, maxRate)
	}
	o.length = time.Duration(*minutes * float64(time.Minute))
	o.phase = time.Duration(*phase * float64(time.Second))
	if f.NArg() == 1 {
		o.program, err = nstest.ParseProgram(f.Arg(0))
	}
	return o, err
}

// soak runs all of it and reports; well says whether nothing was found.
func soak(ctx context.Context, o options) (well bool, err error) {
	if err := errors.Join(nstest.Missing("ip", "wg", "ethtool"), nstest.Writable(o.json)); err != nil {
		return false, err
	}
	if o.program.Args == nil {
		dir, err := os.MkdirTemp("", "culvert-soak-")
		if err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
		if o.program, err = nstest.Culvert(dir); err != nil {
			return false, err
		}
	}
	b, err := newBed(o)
	if err != nil {
		return false, err
	}
	defer b.close()
	r := &result{Begin: time.Now(), Minutes: o.length.Minutes()}
	err = b.run(ctx, r)
	if err == nil {
		r.print(os.Stdout)
	}
	if o.json != "" { // after an error, too: it may have come after hours
		err = errors.Join(err, nstest.WriteJSON(o.json, r))
	}
	return len(r.Found) == 0, err
}

// progress tells what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...)
}
