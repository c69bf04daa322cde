//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// results are all that was measured, as it stands in the JSON.
type results struct {
	Date      string      `json:"date"` // RFC 3339
	Judged    string      `json:"judged"`
	Against   string      `json:"against"` // "" if there is none
	Sizes     []size      `json:"sizes"`
	Connected []connected `json:"connected"`
	Events    []event     `json:"events"`
	Floods    []flooded   `json:"floods"`
	Bounds    []bound     `json:"bounds"`
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
	var names []string
	for _, p := range o.programs {
		names = append(names, p.Name)
	}
	return &results{Date: time.Now().UTC().Format(time.RFC3339), Judged: names[0], Against: nstest.Against(names)}
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

// programs are those that tests were made with.
func (r *results) programs() (names []string) {
	for _, e := range r.Events {
		if !slices.Contains(names, e.Program) {
			names = append(names, e.Program)
		}
	}
	return names
}

// event is what a test measured; nil if it was not made.
func (r *results) event(program, test string) *event {
	for i := range r.Events {
		if e := &r.Events[i]; e.Program == program && e.Test == test {
			return e
		}
	}
	return nil
}

// micros is the processor time per event of a test; 0 if it was not measured.
func (r *results) micros(program, test string) float64 {
	if e := r.event(program, test); e != nil {
		return e.Micros
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
		add(bound{Name: "idle CPU %" + at, Value: ours.IdlePercent, Limit: 0.5, Other: theirs.IdlePercent})
	}
	for _, c := range r.Connected {
		if c.Program != r.Judged || c.Peers != 10_000 || c.Interval != 25 {
			continue
		}
		b := bound{Name: "CPU % of 10000 connected peers, keepalive 25 s", Value: c.Percent, Limit: 0.3}
		if i := slices.IndexFunc(r.Connected, func(c connected) bool { return c.Program == r.Against }); i >= 0 {
			b.Other = r.Connected[i].Percent
		}
		add(b)
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
	for _, f := range r.Floods {
		if f.Program == r.Judged {
			add(bound{Name: "TCP left beside " + string(f.Flood), Value: f.Ratio, Least: true, Limit: 0.9, Other: r.ratio(r.Against, f.Flood)})
		}
	}
}

// kept says whether all bounds are.
func (r *results) kept() bool {
	return !slices.ContainsFunc(r.Bounds, func(b bound) bool { return !b.Kept })
}

// print writes all of it for people.
func (r *results) print(w io.Writer) (err error) {
	for _, t := range []table{r.sizeTable(), r.memory(), r.connectedTable(), r.eventTable(), r.floodTable()} {
		err = errors.Join(err, t.print(w))
	}
	r.printDetails(w)
	return errors.Join(err, r.boundTable().print(w))
}

func (r *results) sizeTable() (t table) {
	t.row("idle peers", "", "set: peers a second", "CPU us a peer", "RSS: bytes a peer", "get: s", "add, remove one: us", "CPU % when idle", "for s")
	for _, s := range r.Sizes {
		t.row(thousands(int64(s.Peers)), s.Program, number(s.PeersPerS), number(s.SetMicros), number(s.BytesPerPeer), number(s.GetSeconds),
			fmt.Sprintf("%.0f, %.0f", s.AddMicros, s.RemoveMicros), fmt.Sprintf("%.3f", s.IdlePercent), number(s.IdleSeconds))
	}
	return t
}

// memory is the table of what the memory is made up of: of the most idle peers, the
// connected ones, and the clients after the last storm.
func (r *results) memory() table {
	var columns []composition
	if s := r.size(r.Judged); s != nil && s.Memory != nil {
		columns = append(columns, composition{"idle", s.Peers, s.Memory})
	}
	for _, c := range r.Connected {
		if c.Memory != nil {
			columns = append(columns, composition{"connected", c.Peers, c.Memory})
		}
	}
	var last *event // storm
	for i, e := range r.Events {
		if e.Memory != nil {
			last = &r.Events[i]
		}
	}
	if last != nil {
		columns = append(columns, composition{"after " + last.Test, last.Clients, last.Memory})
	}
	return memoryTable(columns)
}

func (r *results) connectedTable() (t table) {
	t.row("connected peers", "", "keepalive every s", "watched for s", "keepalives", "route look-ups", "CPU % of a core", "CPU us a keepalive", "RSS MiB")
	for _, c := range r.Connected {
		t.row(thousands(int64(c.Peers)), c.Program, fmt.Sprint(c.Interval), number(c.Seconds), thousands(c.Keepalives), thousands(c.LookUps),
			fmt.Sprintf("%.3f", c.Percent), number(c.Micros), number(mebi(c.RSS)))
	}
	return t
}

// eventTable has a row for each test, and the programs side by side.
func (r *results) eventTable() (t table) {
	programs := r.programs()
	head := []string{""}
	for _, column := range []string{"CPU us an event", "echo: lost %; p50, p99 ms"} {
		for _, p := range programs {
			head = append(head, column+", "+p)
		}
	}
	t.row(head...)
	for _, test := range testNames() {
		cells := []string{test}
		for _, column := range []func(e *event) string{
			func(e *event) string { return number(e.Micros) },
			func(e *event) string {
				lost := 100 * float64(e.ProbeLost) / float64(max(1, e.ProbeSent))
				return fmt.Sprintf("%.1f; %s, %s", lost, number(e.ProbeP50/1e3), number(e.ProbeP99/1e3))
			},
		} {
			for _, p := range programs {
				cell := ""
				if e := r.event(p, test); e != nil {
					cell = column(e)
				}
				cells = append(cells, cell)
			}
		}
		if slices.ContainsFunc(programs, func(p string) bool { return r.event(p, test) != nil }) {
			t.row(cells...)
		}
	}
	return t
}

func (r *results) floodTable() (t table) {
	t.row("TCP beside a flood", "", "datagrams a second", "flood elsewhere: Gbit/s", "flooded: Gbit/s", "ratio", "of each round")
	for _, f := range r.Floods {
		var each []string
		for _, x := range f.Ratios {
			each = append(each, number(x))
		}
		t.row(string(f.Flood), f.Program, number(f.PerS), number(f.Aside), number(f.At), number(f.Ratio), strings.Join(each, " "))
	}
	return t
}

// printDetails writes a line for each test.
func (r *results) printDetails(w io.Writer) {
	for _, e := range r.Events {
		fmt.Fprintf(w, "%s, %s: offered %d, %.0f events a second, RSS %s MiB", e.Program, e.Test, e.Offered, e.PerS, number(mebi(e.RSS)))
		if h := e.Handshake; h != nil {
			fmt.Fprintf(w, ", handshake p50 %s p99 %s ms, %d failed, %d cookies", number(h.P50/1e3), number(h.P99/1e3), h.Failed, h.CookieReplies)
		}
		printDrops(w, e.Drops, e.SocketDrops)
	}
	for _, f := range r.Floods {
		fmt.Fprintf(w, "%s, TCP beside %s", f.Program, f.Flood)
		printDrops(w, f.Drops, f.SocketDrops)
	}
	fmt.Fprintln(w)
}

// printDrops ends a line with what was dropped.
func printDrops(w io.Writer, drops map[string]uint64, socket int64) {
	fmt.Fprintf(w, "; dropped: socket %d", socket)
	for _, reason := range slices.Sorted(maps.Keys(drops)) {
		fmt.Fprintf(w, " %s %d", reason, drops[reason])
	}
	fmt.Fprintln(w)
}

func (r *results) boundTable() (t table) {
	t.row("bound", "", "", "is", "", r.Against)
	for _, b := range r.Bounds {
		verdict, sign, other := "FAIL", "<=", ""
		if b.Kept {
			verdict = "PASS"
		}
		if b.Least {
			sign = ">="
		}
		if b.Other > 0 {
			other = number(b.Other)
		}
		t.row(b.Name, sign, number(b.Limit), number(b.Value), verdict, other)
	}
	return t
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }
