//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPerEvent(t *testing.T) {
	for _, c := range []struct {
		used time.Duration
		idle float64
		took time.Duration
		n    int64
		want float64
	}{
		{time.Second, 0, time.Second, 1000, 1000},
		{time.Second, 0.1, 2 * time.Second, 1000, 800}, // a tenth of a processor is used anyway
		{time.Millisecond, 0.1, time.Second, 10, 0},    // noise is not negative
		{time.Second, 0, time.Second, 0, 0},            // nothing came
	} {
		if got := perEvent(c.used, c.idle, c.took, c.n); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The clock of a process goes on while it works.
func TestCPU(t *testing.T) {
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 1e7; n++ {
	}
	after, err := cpu(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("%v, then %v, %v", before, after, err)
	}
	if rss(os.Getpid()) < 1<<20 {
		t.Errorf("we have %d bytes", rss(os.Getpid()))
	}
	if _, err := cpu(1 << 22); err == nil { // above all process ids
		t.Error("nobody's clock is read")
	}
}

func TestQueues(t *testing.T) {
	const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  519: 0100007F:CA6C 00000000:0000 07 00000000:00000F00 00:00000000 00000000     0        0 2 2 0 11
  520: 00000000:CA6C 00000000:0000 07 00000000:00000010 00:00000000 00000000     0        0 3 2 0 5
  521: 00000000:0044 00000000:0000 07 00000000:00000010 00:00000000 00000000     0        0 4 2 0 100
`
	var q queues
	q.add(table, 51820)
	if want := (queues{0xf10, 16}); q != want {
		t.Errorf("%+v, want %+v", q, want)
	}
}

func TestMedian(t *testing.T) {
	all := []time.Duration{5, 1, 9, 3}
	if got := median(all); got != 5 || all[0] != 5 {
		t.Errorf("%v of %v", got, all)
	}
}

// sample is what a run may have measured.
func sample() *results {
	return &results{
		Judged: "culvert", Against: rival,
		Sizes: []size{
			{Program: "culvert", Peers: 1000, PeersPerS: 1, BytesPerPeer: 5000},
			{Program: "culvert", Peers: 100000, PeersPerS: 250e3, BytesPerPeer: 900, AddMicros: 50, RemoveMicros: 2000},
			{Program: rival, Peers: 1000, PeersPerS: 9, BytesPerPeer: 20000, AddMicros: 1},
		},
		Events: []event{
			{Program: "culvert", Test: "handshakes", Micros: 150, Handshake: &handshake{P50: 1500, CookieReplies: 3}, Drops: map[string]uint64{"bad_tag": 7}},
			{Program: rival, Test: "handshakes", Micros: 300, ProbeSent: 200, ProbeLost: 20},
			{Program: "culvert", Test: "bad-mac1", Micros: 1.25},
		},
	}
}

func TestJudge(t *testing.T) {
	r := sample()
	r.judge()
	want := []bound{
		{"RSS bytes per idle peer (100000 peers)", 900, false, 1000, 20000, true},
		{"peers set per second (100000 peers)", 250e3, true, 200e3, 9, true},
		{"us to add one (100000 peers)", 50, false, 1000, 1, true},
		{"us to remove one (100000 peers)", 2000, false, 1000, 0, false},
		{"CPU us, handshakes", 150, false, 200, 300, true},
		{"of wireguard-go's, handshakes", 0.5, false, 0.42, 1, false},
		{"CPU us, bad-mac1", 1.25, false, 1.5, 0, true},
	}
	if !reflect.DeepEqual(r.Bounds, want) || r.kept() {
		t.Errorf("%+v, kept: %v", r.Bounds, r.kept())
	}
	alone := &results{Judged: "culvert", Sizes: []size{{Program: "culvert", Peers: 9, PeersPerS: 200e3, BytesPerPeer: 1000}}}
	if alone.judge(); !alone.kept() || len(alone.Bounds) != 4 {
		t.Errorf("without a rival, just so: %+v", alone.Bounds)
	}
	if none := new(results); !none.kept() {
		t.Error("nothing measured is a bound not kept")
	}
}

func TestPrint(t *testing.T) {
	r := sample()
	r.judge()
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"100000 culvert 0.00 250000 0.00 900 0.00 50 2000 0.0",
		"handshakes culvert 0 0 0 150 0.0 0 0 1500 0 0 3 0.0",
		"handshakes wireguard-go 0 0 0 300 10.0 0 0 0.0",
		"culvert, handshakes: dropped bad_tag 7",
		"FAIL us to remove one (100000 peers) 2000 <= 1000",
		"PASS peers set per second (100000 peers) 250000 >= 200000 wireguard-go 9.00",
	} {
		if !strings.Contains(squeezed(b.String()), line+"\n") {
			t.Errorf("there is no %q in\n%s", line, b.String())
		}
	}
}

// squeezed has one blank between words, and none at the ends of lines.
func squeezed(s string) (out string) {
	for line := range strings.Lines(s) {
		out += strings.Join(strings.Fields(line), " ") + "\n"
	}
	return out
}

func TestWrite(t *testing.T) {
	r, file := sample(), filepath.Join(t.TempDir(), "scale.json")
	r.judge()
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var again results
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(*r, again) {
		t.Errorf("%v: %+v", err, again)
	}
}

func TestParse(t *testing.T) {
	o, err := parse(nil)
	if err != nil || len(o.sizes) != 5 || len(o.tests) != len(tests) || len(o.programs) != 0 || o.length != 3*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-peers=", "-tests=bad-mac1,data", "-rate=5", "a=b c", "d=e"})
	if err != nil || len(o.sizes) != 0 || len(o.tests) != 2 || o.rate != 5 || len(o.programs) != 2 || o.programs[0].Args[1] != "c" {
		t.Errorf("%+v, %v", o, err)
	}
	if r := newResults(&o); r.Judged != "a" || r.Against != "d" {
		t.Errorf("%s is judged against %s", r.Judged, r.Against)
	}
	for _, bad := range []string{"-peers=0", "-peers=ten", "-peers=99999999", "-tests=x", "-clients=0", "-under-way=0", "-rate=-1", "-seconds=0", "-seconds=NaN", "x", "=y", "x="} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%q is right", bad)
		}
	}
}
