package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"culvert/internal/aead"
	"culvert/internal/cryptobench"
)

// benchCommand is the first word of the command line that measures and does not
// start a daemon.
const benchCommand = "bench"

// benchOptions are the rest of it.
type benchOptions struct {
	Crypto benchCrypto `cmd:"" help:"Measure what packets are encrypted and decrypted with: each kernel of this processor beside generic, which is Go's x/crypto."`
}

type benchCrypto struct {
	Kernels []string `name:"kernel" placeholder:"NAME" help:"Kernels to measure, see --aead of culvert: all that this processor has if not given. generic always is, for comparison."`
	Sizes   []int    `name:"size" placeholder:"BYTES" default:"64,256,1424,8900" help:"Sizes of packets: ${default} if not given."`
	Seconds float64  `name:"seconds" placeholder:"N" default:"12" help:"How long to measure, all in all: ${default} if not given."`
	JSON    bool     `name:"json" help:"Print JSON: the machine, and a list with a row for each kernel, operation, size and number of packets in a call."`
}

const benchDescription = `Measures parts of culvert on this machine. It needs no root and touches no interface.`

// Help is what --help says of the method.
func (*benchCrypto) Help() string {
	return `Packets are sealed and opened in place, one and 32 in a call, as the daemon does. Kernels take turns in slices of 5 ms; the figures are medians of those. Opening has in it the copying that restores the packet, for all kernels alike. A call of fewer packets than a kernel is worth is computed by x/crypto, as in the daemon: single packets may be equally fast with all.

Each --kernel and --size may be a list with commas, and be repeated. Progress is told on standard error. SIGINT ends it with what was measured, and status 1.`
}

// runBench runs culvert bench and gives the exit code.
func runBench(args []string) int {
	var o benchOptions
	parser, err := kong.New(&o, kong.Name("culvert bench"), kong.Description(benchDescription))
	if err == nil {
		parser.Stderr = io.Discard
		_, err = parser.Parse(args)
	}
	if err == nil {
		err = o.Crypto.check()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v; see culvert bench crypto --help\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.Crypto.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v\n", err)
		return exitFailure
	}
	return exitOK
}

// Bounds of --seconds.
const (
	minSeconds = 0.01
	maxSeconds = 3600
)

// check checks what the parser does not.
func (o *benchCrypto) check() error {
	all := aead.Kernels()
	for _, name := range o.Kernels {
		if !slices.Contains(all, name) {
			return fmt.Errorf("--kernel must be one of %s on this processor, not %q", strings.Join(all, ", "), name)
		}
	}
	for _, n := range o.Sizes {
		if n < 1 || n > cryptobench.MaxSize {
			return fmt.Errorf("--size must be from 1 to %d, not %d", cryptobench.MaxSize, n)
		}
	}
	if !(o.Seconds >= minSeconds && o.Seconds <= maxSeconds) { // so that NaN is not
		return fmt.Errorf("--seconds must be from %v to %d, not %v", minSeconds, maxSeconds, o.Seconds)
	}
	return nil
}

// run measures until ctx ends, and prints what it has.
func (o *benchCrypto) run(ctx context.Context, out io.Writer, notes *os.File) error {
	if len(o.Kernels) == 0 {
		o.Kernels = aead.Kernels()
	}
	start := time.Now()
	tell, end := progress(notes)
	rows, failed := cryptobench.Run(cryptobench.Options{
		Kernels: o.Kernels, Sizes: o.Sizes, Time: time.Duration(o.Seconds * float64(time.Second)),
		Now:  func() time.Duration { return time.Since(start) },
		Stop: func() bool { return ctx.Err() != nil }, Progress: tell,
	})
	end()
	if failed != nil && (!errors.Is(failed, cryptobench.ErrStopped) || len(rows) == 0) {
		return failed
	}
	r := cryptobench.Report{
		Version: versionString(), CPU: cpuModel(), GOARCH: runtime.GOARCH, Kernel: aead.Kernel(),
		Complete: failed == nil, Rows: rows,
	}
	if o.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return errors.Join(e.Encode(r), failed)
	}
	return errors.Join(r.Table(out), failed)
}

// unknownCPU is the model of a processor that has no name.
const unknownCPU = "unknown processor"

// progress tells what is being done on f: in one line that changes if f is a
// terminal, else in lines. end takes that one line away.
func progress(f *os.File) (tell func(cryptobench.Progress), end func()) {
	before, after, last := "", "\n", ""
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		const clearLine = "\r\x1b[K"
		before, after, last = clearLine, "", clearLine
	}
	tell = func(p cryptobench.Progress) {
		fmt.Fprintf(f, "%s%d of %d: %s; %.1f s left%s", before, p.Number, p.Of, p.Step, p.Left.Seconds(), after)
	}
	return tell, func() { fmt.Fprint(f, last) }
}
