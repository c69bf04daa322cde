//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// result is what a soak found.
type result struct {
	Begin       time.Time  `json:"begin"`
	Minutes     float64    `json:"minutes"`
	Phases      int        `json:"phases"`
	Sent        uint64     `json:"sent"`
	Received    uint64     `json:"received"`
	Explained   uint64     `json:"lost_and_counted"`    // in phases that lose nothing
	Unexplained uint64     `json:"lost_without_reason"` // likewise
	Disturbed   uint64     `json:"lost_by_disturbances"`
	Found       []string   `json:"found"` // what is wrong; empty: nothing
	Samples     []sample   `json:"samples"`
	AtRest      [2]sample  `json:"at_rest"`            // after the first phase, and at the end
	Odd         []oddPhase `json:"phases_with_losses"` // the first of those that should have none
}

// oddPhase is a phase that lost packets though its disturbance does not.
type oddPhase struct {
	Phase   string            `json:"phase"`
	Tallies []tally           `json:"tallies"`
	Drops   map[string]uint64 `json:"counted"`
}

// maxFound bounds what is told of one soak.
const maxFound = 50

func (r *result) found(format string, args ...any) {
	if len(r.Found) < maxFound {
		r.Found = append(r.Found, fmt.Sprintf(format, args...))
		progress("FOUND: "+format, args...)
	}
}

// handshakeDrops are reasons of datagrams that carry no packet.
var handshakeDrops = []string{"bad_mac1", "handshake_queue_full", "source_over_share", "cookie_needed", "rate_limited", "no_private_key",
	"bad_handshake", "unknown_peer", "old_timestamp", "initiation_too_soon", "stale_handshake", "bad_cookie_reply"}

// add judges a phase: its losses, against what was counted meanwhile, and whether
// traffic came back.
func (r *result) add(d disturbance, s sample, tallies []tally, back bool) {
	s.Phase = d.name
	r.Phases++
	counted := map[string]uint64{}
	if n := len(r.Samples); n > 0 {
		last := r.Samples[n-1]
		since(counted, last.Left, s.Left)
		since(counted, last.Right, s.Right)
	}
	r.keep(s)
	var lost, explained uint64
	for _, t := range tallies {
		r.Sent += t.Sent
		r.Received += t.Received
		lost += t.Sent - min(t.Sent, t.Received)
		if t.Damaged+t.Twice > 0 || t.Received > t.Sent {
			r.found("%s: %s: %d packets arrived of %d sent, %d damaged, %d twice", d.name, t.Flow, t.Received, t.Sent, t.Damaged, t.Twice)
		}
		if t.Sent == 0 || !d.loses && t.Received == 0 {
			r.found("%s: %s: %d packets sent, %d arrived, %d refused", d.name, t.Flow, t.Sent, t.Received, t.Refused)
		}
	}
	for _, n := range counted {
		explained += n
	}
	switch {
	case !back:
		r.found("%s: no traffic %v later", d.name, recovery)
	case d.loses:
		r.Disturbed += lost
		return
	case lost == 0:
		return
	}
	if !d.loses {
		r.Explained += min(lost, explained)
		if len(r.Odd) < maxFound {
			r.Odd = append(r.Odd, oddPhase{d.name, tallies, counted})
		}
		if lost > explained {
			r.Unexplained += lost - explained
			r.found("%s: %d packets lost, of which counters tell %d: %v", d.name, lost, explained, counted)
		}
	}
}

// maxSamples are kept: of more, every second goes.
const maxSamples = 4096

// keep adds a sample.
func (r *result) keep(s sample) {
	if len(r.Samples) == maxSamples {
		for i := range maxSamples / 2 {
			r.Samples[i] = r.Samples[2*i+1] // with the last, which the next is compared with
		}
		r.Samples = r.Samples[:maxSamples/2]
	}
	r.Samples = append(r.Samples, s)
}

// since adds to counted what a daemon and its system dropped between two samples.
func since(counted map[string]uint64, before, after vitals) {
	for _, m := range []struct{ before, after map[string]uint64 }{{before.Drops, after.Drops}, {before.System, after.System}} {
		for name, n := range m.after {
			if n > m.before[name] && !slices.Contains(handshakeDrops, name) {
				counted[name] += n - m.before[name]
			}
		}
	}
}

// series is a quantity over the samples, and by how much it may grow from the end of
// the warm-up to the end of the soak.
type series struct {
	name  string
	of    func(vitals) float64
	grows float64
}

// Growth that is none: a client's connection that is being closed is a descriptor and
// a goroutine; what is sampled while a handshake is under way holds one more of some
// kinds; the heap of a Go program breathes.
const (
	fewGoroutines = 2
	fewHeld       = 3
	rssBreath     = 6 << 20
	poolBreath    = 2 << 20
	restBreath    = 3 << 19 // a batch may still be in somebody's hand
)

var flat = []series{
	{"descriptors", func(v vitals) float64 { return float64(v.Descriptors) }, 1},
	{"goroutines", func(v vitals) float64 { return float64(v.Goroutines) }, fewGoroutines},
	{"resident bytes", func(v vitals) float64 { return float64(v.RSS) }, rssBreath},
	{"bytes of packet memory", func(v vitals) float64 { return float64(v.Packets) }, poolBreath},
}

// judge looks at all samples.
func (r *result) judge() {
	for _, side := range []struct {
		name string
		of   func(sample) vitals
	}{{"left", func(s sample) vitals { return s.Left }}, {"right", func(s sample) vitals { return s.Right }}} {
		all := slices.Clone(flat)
		for kind := range side.of(r.Samples[len(r.Samples)-1]).Held {
			if !slices.Contains(runtimeKinds, kind) {
				all = append(all, series{kind + " held", func(v vitals) float64 { return float64(v.Held[kind]) }, fewHeld})
			}
		}
		for _, q := range all {
			var at, values []float64
			for _, s := range r.Samples {
				at, values = append(at, s.At), append(values, q.of(side.of(s)))
			}
			if growth := growth(at, values); growth > q.grows {
				r.found("%s: %s grow by %.1f in %.1f minutes, %.1f is none: %v", side.name, q.name, growth, (at[len(at)-1]-at[0])/60, q.grows, ends(values))
			}
		}
		if begin, end := side.of(r.AtRest[0]).Packets, side.of(r.AtRest[1]).Packets; heldBack(begin, end) {
			r.found("%s: %d bytes of packet memory at rest, %d at the beginning", side.name, end, begin)
		}
		if n := side.of(r.Samples[len(r.Samples)-1]).Failures; n > 0 {
			r.found("%s: sockets failed %d times", side.name, n)
		}
	}
}

// heldBack reports whether a daemon has more packet memory at the end, in bytes, than at the beginning.
func heldBack(begin, end int64) bool { return end > begin+restBreath }

// gaveBack reports whether neither daemon has more packet memory in s than at the beginning.
func (r *result) gaveBack(s sample) bool {
	begin := r.AtRest[0]
	return !heldBack(begin.Left.Packets, s.Left.Packets) && !heldBack(begin.Right.Packets, s.Right.Packets)
}

// runtimeKinds are what the Go runtime has, counted in objects.
var runtimeKinds = []string{"other_objects", "heap_fragments", "heap_free", "runtime", "packets", "files", "rest"}

// growth is by how much values grow after the warm-up: the median of the slopes
// between any two of them (Theil and Sen), which a few odd ones do not move, times
// the time.
func growth(at, values []float64) float64 {
	first := int(warmUp * float64(len(at)))
	at, values = thin(at[first:]), thin(values[first:])
	var slopes []float64
	for i := range at {
		for j := range i {
			if at[i] > at[j] {
				slopes = append(slopes, (values[i]-values[j])/(at[i]-at[j]))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2] * (at[len(at)-1] - at[0])
}

// thin leaves 200 of many, evenly: their pairs are to be few enough.
func thin(all []float64) []float64 {
	const most = 200
	if len(all) <= most {
		return all
	}
	some := make([]float64, most)
	for i := range some {
		some[i] = all[i*(len(all)-1)/(most-1)]
	}
	return some
}

// ends are the first and last of many values.
func ends(values []float64) []float64 {
	if len(values) <= 12 {
		return values
	}
	return append(slices.Clone(values[:6]), values[len(values)-6:]...)
}

// print writes the result for people.
func (r *result) print(w io.Writer) {
	last := r.Samples[len(r.Samples)-1]
	fmt.Fprintf(w, "%.1f minutes, %d phases, %d packets sent, %d received; lost: %d by disturbances, %d counted, %d without a reason\n",
		last.At/60, r.Phases, r.Sent, r.Received, r.Disturbed, r.Explained, r.Unexplained)
	for _, side := range []struct {
		name string
		v    vitals
	}{{"left", last.Left}, {"right", last.Right}} {
		fmt.Fprintf(w, "%s at the end: %v", side.name, side.v)
		for _, reason := range slices.Sorted(maps.Keys(side.v.Drops)) {
			if n := side.v.Drops[reason]; n > 0 {
				fmt.Fprintf(w, ", %s %d", reason, n)
			}
		}
		fmt.Fprintln(w)
	}
	for _, f := range r.Found {
		fmt.Fprintln(w, "FOUND:", f)
	}
	if len(r.Found) == 0 {
		fmt.Fprintln(w, "nothing grows, and nothing was lost without a reason")
	}
}
