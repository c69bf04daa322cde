package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"culvert/ipc"
)

// statusCommand is the first word of the command line that asks a daemon and
// does not start one.
const statusCommand = "status"

// statusOptions are the rest of it.
type statusOptions struct {
	Interface string `arg:"" optional:"" name:"ifname" help:"The interface whose daemon to ask: all there are if not given."`
	JSON      bool   `name:"json" help:"Print JSON: an object if an interface is named, else a list of them."`
}

const statusDescription = `Asks the daemon of an interface how it is: offloads and why they are off, memory, packets dropped by reason, and all counters that are not zero (with --json also those that are). Nothing secret is shown.`

// runStatus runs culvert status and gives the exit code.
func runStatus(args []string) int {
	var o statusOptions
	parser, err := kong.New(&o, kong.Name("culvert status"), kong.Description(statusDescription))
	if err == nil {
		parser.Stderr = io.Discard
		_, err = parser.Parse(args)
	}
	if err == nil && o.Interface != "" {
		err = checkName(o.Interface)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v; see culvert status --help\n", err)
		return exitUsage
	}
	if err := o.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v\n", err)
		return exitFailure
	}
	return exitOK
}

func (o *statusOptions) run(out, notes io.Writer) error {
	if o.Interface != "" {
		text, err := ask(o.Interface)
		if err != nil {
			return err
		}
		return o.print(out, text)
	}
	names, err := ipc.Served()
	if err != nil {
		return err
	}
	texts := []json.RawMessage{}
	var failed error
	for _, name := range names {
		text, err := ask(name)
		if err == nil {
			texts = append(texts, text)
			continue
		}
		fmt.Fprintf(notes, "culvert: %v\n", err)
		if !errors.Is(err, ipc.ErrNotServed) && !errors.Is(err, ipc.ErrNoStatus) {
			failed = errNotAll
		}
	}
	if len(texts) == 0 {
		return cmp.Or(failed, errNone)
	}
	return errors.Join(o.printAll(out, texts), failed)
}

// Why culvert status has not told of every daemon there is.
var (
	errNone   = errors.New("no culvert is running here; culvert IFNAME starts one")
	errNotAll = errors.New("not every daemon could be asked")
)

// printAll prints what several daemons told.
func (o *statusOptions) printAll(out io.Writer, texts []json.RawMessage) error {
	if o.JSON {
		all, err := json.Marshal(texts)
		if err != nil {
			return err
		}
		return o.print(out, all)
	}
	for i, text := range texts {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := o.print(out, text); err != nil {
			return err
		}
	}
	return nil
}

// ask asks one daemon. Its error says what to do.
func ask(name string) (json.RawMessage, error) {
	text, err := ipc.AskStatus(name)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: may not ask its daemon: run culvert status as root", name)
	case !errors.Is(err, ipc.ErrNotServed):
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return nil, fmt.Errorf("%s: there is no such interface in this network namespace, and %w: culvert %s makes it", name, ipc.ErrNotServed, name)
	}
	return nil, fmt.Errorf("%s: the interface is there, but %w: it belongs to the kernel or another program", name, ipc.ErrNotServed)
}

// print prints what a daemon told, which may be older or newer than we are.
func (o *statusOptions) print(w io.Writer, text json.RawMessage) error {
	if o.JSON {
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, b.String())
		return err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("the daemon's answer is not understood (other version?): %w; try --json", err)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

// text is r for people: a section each for the daemon, offloads, and the
// counters that are not zero.
func (r *report) text() string {
	var b bytes.Buffer
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %s: "+format+"\n", append([]any{name}, args...)...)
	}
	state := "down"
	if r.Up {
		state = "up"
	}
	fmt.Fprintf(&b, "interface: %s\n", r.Interface)
	line("version", "%s", r.Version)
	line("uptime", "%s", time.Duration(r.Uptime)*time.Second)
	if r.SocketError != "" {
		state = "no sockets (" + r.SocketError + ")"
	}
	line("state", "%s, listening port %d, mtu %d", state, r.ListenPort, r.MTU)
	if r.SocketFailures > 0 {
		line("sockets", "failed %d times, opened anew %d times", r.SocketFailures, r.Reopened)
	}
	line("peers", "%d", r.Peers)
	line("packet memory", "%s of %s", mebi(r.MemoryUsed), mebi(r.MemoryLimit))
	line("workers", "%d; %d of %d readers hand over", r.Workers, r.Handing, r.Readers)
	line("aead", "%s", r.AEAD)
	if f := r.Flood; f.On {
		line("flood", "of duplicate, forged or unknown messages, number %d; %d peers at work have a socket for themselves", f.Times, f.Preferred)
	} else if f.Times > 0 {
		line("floods", "%d of duplicate, forged or unknown messages", f.Times)
	}
	line("confinement", "%s", r.Confinement)
	line("process", "%d, %d goroutines, %s resident", r.PID, r.Goroutines, mebi(r.RSS))
	if r.AcceptErrors > 0 {
		line("socket file", "%d clients could not be accepted", r.AcceptErrors)
	}
	if r.StampFailures > 0 {
		line("state directory", "%d times not written", r.StampFailures)
	}
	if len(r.Offloads) > 0 {
		b.WriteString("\noffloads:\n")
	}
	for _, o := range r.Offloads {
		fmt.Fprintf(&b, "  %s\n", o)
	}
	counters(&b, "dropped packets", r.Drops)
	counters(&b, "sockets", r.Sockets)
	counters(&b, "tun", r.Tun)
	return b.String()
}

// counters writes those of v, an object of numbers, that are not zero.
func counters(b *bytes.Buffer, title string, v any) {
	var all map[string]uint64
	if text, err := json.Marshal(v); err != nil || json.Unmarshal(text, &all) != nil {
		return
	}
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(b, "  %s: %d\n", name, all[name])
	}
}

func mebi(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
