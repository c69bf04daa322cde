//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"culvert/internal/nstest"
)

// rival is the name of the program that bounds compare with.
const rival = "wireguard-go"

// results are all that was measured, as it stands in the JSON.
type results struct {
	Date    string  `json:"date"` // RFC 3339
	Judged  string  `json:"judged"`
	Against string  `json:"against"` // "" if there is none
	Sizes   []size  `json:"sizes"`
	Events  []event `json:"events"`
	Bounds  []bound `json:"bounds"`
}

// bound is one of the project.
type bound struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Least bool    `json:"least"` // Limit is the least that is right, not the most
	Limit float64 `json:"limit"`
	Other float64 `json:"against"` // the other program's value; 0: not measured
	Kept  bool    `json:"kept"`
}

func newResults(o *options) *results {
	r := &results{Date: time.Now().UTC().Format(time.RFC3339), Judged: o.programs[0].Name}
	if others := o.programs[1:]; len(others) > 0 {
		r.Against = others[len(others)-1].Name
		if slices.ContainsFunc(others, func(p nstest.Program) bool { return p.Name == rival }) {
			r.Against = rival
		}
	}
	return r
}

// size is the largest that was measured with a program; nil if none was.
func (r *results) size(program string) (largest *size) {
	for i := range r.Sizes {
		if s := &r.Sizes[i]; s.Program == program && (largest == nil || s.Peers > largest.Peers) {
			largest = s
		}
	}
	return largest
}

// micros is the processor time per event of a test; 0 if it was not measured.
func (r *results) micros(program, test string) float64 {
	for _, e := range r.Events {
		if e.Program == program && e.Test == test {
			return e.Micros
		}
	}
	return 0
}

// judge compares what was measured with the bounds.
func (r *results) judge() {
	add := func(b bound) {
		b.Kept = b.Value <= b.Limit != b.Least || b.Value == b.Limit
		r.Bounds = append(r.Bounds, b)
	}
	if ours, theirs := r.size(r.Judged), r.size(r.Against); ours != nil {
		if theirs == nil {
			theirs = new(size)
		}
		at := fmt.Sprintf(" (%d peers)", ours.Peers)
		add(bound{Name: "RSS bytes per idle peer" + at, Value: ours.BytesPerPeer, Limit: 1000, Other: theirs.BytesPerPeer})
		add(bound{Name: "peers set per second" + at, Value: ours.PeersPerS, Limit: 200e3, Least: true, Other: theirs.PeersPerS})
		add(bound{Name: "us to add one" + at, Value: ours.AddMicros, Limit: 1000, Other: theirs.AddMicros})
		add(bound{Name: "us to remove one" + at, Value: ours.RemoveMicros, Limit: 1000, Other: theirs.RemoveMicros})
	}
	for _, b := range []struct {
		test         string
		limit, ratio float64
	}{{"handshakes", 200, 0.42}, {"rekeys", 200, 0.42}, {"bad-mac1", 1.5, 0}, {"duplicates", 2, 0}, {"unknown-key", 50, 0}} {
		ours, theirs := r.micros(r.Judged, b.test), r.micros(r.Against, b.test)
		if ours == 0 {
			continue
		}
		add(bound{Name: "CPU us, " + b.test, Value: ours, Limit: b.limit, Other: theirs})
		if b.ratio > 0 && theirs > 0 {
			add(bound{Name: "of " + r.Against + "'s, " + b.test, Value: ours / theirs, Limit: b.ratio, Other: 1})
		}
	}
}

// kept says whether all bounds are.
func (r *results) kept() bool {
	return !slices.ContainsFunc(r.Bounds, func(b bound) bool { return !b.Kept })
}

// number has about three digits that count.
func number(x float64) string {
	switch {
	case x >= 100 || x <= -100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// print writes all of it for people.
func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) { fmt.Fprintln(t, strings.TrimSuffix(fmt.Sprintln(cells...), "\n")) }
	cells := func(format string, args ...any) { row(fmt.Sprintf(format, args...)) }
	if len(r.Sizes) > 0 {
		row("idle peers\t\tset s\tpeers/s\tCPU us/peer\tRSS bytes/peer\tget s\tadd us\tremove us\tidle CPU %\t")
	}
	for _, s := range r.Sizes {
		cells("%d\t%s\t%.2f\t%.0f\t%s\t%.0f\t%.2f\t%.0f\t%.0f\t%.1f\t", s.Peers, s.Program, s.SetSeconds, s.PeersPerS, number(s.SetMicros),
			s.BytesPerPeer, s.GetSeconds, s.AddMicros, s.RemoveMicros, s.IdlePercent)
	}
	if len(r.Sizes) > 0 && len(r.Events) > 0 {
		fmt.Fprintln(t)
	}
	if len(r.Events) > 0 {
		row("test\t\toffered\tevents\tper s\tCPU us\tprobe lost %\tp50 us\tp99 us\thandshake p50 us\tp99 us\tfailed\tcookies\tRSS MiB\t")
	}
	for _, test := range testNames() {
		for _, e := range r.Events {
			if e.Test != test {
				continue
			}
			shake := "\t\t\t"
			if h := e.Handshake; h != nil {
				shake = fmt.Sprintf("%.0f\t%.0f\t%d\t%d", h.P50, h.P99, h.Failed, h.CookieReplies)
			}
			cells("%s\t%s\t%d\t%d\t%.0f\t%s\t%.1f\t%.0f\t%.0f\t%s\t%.1f\t", e.Test, e.Program, e.Offered, e.Events, e.PerS, number(e.Micros),
				100*float64(e.ProbeLost)/float64(max(1, e.ProbeSent)), e.ProbeP50, e.ProbeP99, shake, float64(e.RSS)/(1<<20))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.printRest(w)
}

// printRest writes drops and bounds.
func (r *results) printRest(w io.Writer) error {
	fmt.Fprintln(w)
	for _, e := range r.Events {
		if len(e.Drops) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s, %s: dropped", e.Program, e.Test)
		for _, reason := range slices.Sorted(maps.Keys(e.Drops)) {
			fmt.Fprintf(w, " %s %d", reason, e.Drops[reason])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range r.Bounds {
		verdict, sign, other := "FAIL", "<=", ""
		if b.Kept {
			verdict = "PASS"
		}
		if b.Least {
			sign = ">="
		}
		if b.Other > 0 {
			other = r.Against + " " + number(b.Other)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s %s\t%s\n", verdict, b.Name, number(b.Value), sign, number(b.Limit), other)
	}
	return t.Flush()
}

// write writes everything as JSON.
func (r *results) write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
