//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// values are what one run of a test measured, by the name of the figure.
type values map[string]float64

// String is for progress lines.
func (v values) String() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", k, v[k]))
	}
	return strings.Join(parts, ", ")
}

// results holds all rounds.
type results struct {
	names []string                        // of daemons, as given
	order []string                        // of figures, as they came
	all   map[string]map[string][]float64 // daemon, figure: one value a round
	o     options
}

func newResults(o options) *results {
	r := &results{all: make(map[string]map[string][]float64), o: o}
	for _, p := range o.programs {
		r.names = append(r.names, p.Name)
		r.all[p.Name] = make(map[string][]float64)
	}
	return r
}

func (r *results) add(name string, v values) {
	for _, figure := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(r.order, figure) {
			r.order = append(r.order, figure)
		}
		r.all[name][figure] = append(r.all[name][figure], v[figure])
	}
}

// median of a figure over the rounds; false if it was not measured.
func (r *results) median(name, figure string) (float64, bool) {
	v := slices.Sorted(slices.Values(r.all[name][figure]))
	if len(v) == 0 {
		return 0, false
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

// printTable shows medians, and the first daemon as a multiple of each other.
func (r *results) printTable(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "median of %d\t%s", r.o.rounds, strings.Join(r.names, "\t"))
	for _, other := range r.names[1:] {
		fmt.Fprintf(t, "\t%s / %s", r.names[0], other)
	}
	fmt.Fprintln(t)
	for _, figure := range r.order {
		fmt.Fprint(t, figure)
		for _, name := range r.names {
			m, _ := r.median(name, figure)
			fmt.Fprintf(t, "\t%.2f", m)
		}
		first, _ := r.median(r.names[0], figure)
		for _, other := range r.names[1:] {
			if m, _ := r.median(other, figure); m != 0 {
				fmt.Fprintf(t, "\tx%.2f", first/m)
			} else {
				fmt.Fprint(t, "\t-")
			}
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}

// goal is a target of the project. With against it bounds the ratio to the
// daemon compared with, else the figure itself.
type goal struct {
	what, figure string
	against      bool
	atLeast      bool
	bound        float64
}

var goals = []goal{
	{"TCP rate", "tcp1 Gbit/s", true, true, 1.2},
	{"UDP rate at 1% loss", "udp kpps at 1% loss", true, true, 1.5},
	{"CPU per UDP packet", "udp CPU us/packet", true, false, 0.5},
	{"memory under TCP load, MiB", "tcp1 peak RSS MiB", false, false, 64},
	{"memory under UDP load, MiB", "flood peak RSS MiB", false, false, 64},
	{"memory when idle, MiB", "idle RSS MiB", false, false, 16},
	{"ping flood, mean", "ping flood us", true, false, 1},
	{"ping every 2 ms, least", "ping 2 ms least us", true, false, 1},
	{"ping under TCP load, mean", "ping under TCP us", true, false, 1},
}

// printVerdicts judges the first daemon, where a target is a ratio against the
// last; what was not measured is not judged.
func (r *results) printVerdicts(w io.Writer) (met bool) {
	met = true
	first, last := r.names[0], r.names[len(r.names)-1]
	fmt.Fprintln(w)
	for _, g := range goals {
		value, ok := r.median(first, g.figure)
		unit := ""
		if g.against {
			base, measured := r.median(last, g.figure)
			ok = ok && measured && first != last && base != 0
			value, unit = value/base, " x "+last
		}
		if !ok {
			continue
		}
		pass, relation := value <= g.bound, "<="
		if g.atLeast {
			pass, relation = value >= g.bound, ">="
		}
		verdict := "PASS"
		if !pass {
			verdict, met = "FAIL", false
		}
		fmt.Fprintf(w, "%s  %s: %.2f%s (target %s %.1f)\n", verdict, g.what, value, unit, relation, g.bound)
	}
	return met
}

// writeJSON writes every value, with what is needed to compare runs.
func (r *results) writeJSON(file string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	b, err := json.MarshalIndent(map[string]any{
		"kernel":  unix.ByteSliceToString(u.Release[:]),
		"cpus":    runtime.NumCPU(),
		"rounds":  r.o.rounds,
		"seconds": r.o.seconds,
		"values":  r.all,
	}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
