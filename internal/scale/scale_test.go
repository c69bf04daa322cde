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

	"culvert/internal/load"
	"culvert/internal/nstest"
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
		Judged: "culvert", Against: nstest.Rival,
		Sizes: []size{
			{Program: "culvert", Peers: 1000, PeersPerS: 1, BytesPerPeer: 5000},
			{Program: "culvert", Peers: 100000, PeersPerS: 250e3, BytesPerPeer: 900, AddMicros: 50, RemoveMicros: 2000,
				IdlePercent: 0.6, IdleSeconds: 130, Memory: []part{{"peers", 100000, 41.6e6}, {"rest", 0, -1e5}}},
			{Program: nstest.Rival, Peers: 1000, PeersPerS: 9, BytesPerPeer: 20000, AddMicros: 1},
		},
		Connected: []connected{
			{Program: "culvert", Peers: 10000, Interval: 25, Seconds: 50, Keepalives: 20000, LookUps: 9, Percent: 0.27, Micros: 6.75, RSS: 20 << 20},
			{Program: nstest.Rival, Peers: 10000, Interval: 25, Percent: 0.5},
		},
		Floods: []flooded{
			{Program: "culvert", Flood: load.BadMAC1, Aside: 4, At: 3.5, Ratio: 0.875, Ratios: []float64{0.85, 0.875, 0.9}, PerS: 123456, Drops: map[string]uint64{"bad_mac1": 5}, SocketDrops: 6},
			{Program: nstest.Rival, Flood: load.BadMAC1, Ratio: 0.5},
			{Program: "culvert", Flood: load.Duplicates, Ratio: 0.91},
		},
		Events: []event{
			{Program: "culvert", Test: "handshakes", Clients: 1000, Memory: []part{{"peers", 1000, 416000}, {"keypairs", 1000, 4e5}}, Micros: 150, Handshake: &handshake{P50: 1500, CookieReplies: 3}, Drops: map[string]uint64{"bad_tag": 7}},
			{Program: nstest.Rival, Test: "handshakes", Micros: 300, ProbeSent: 200, ProbeLost: 20},
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
		{"idle CPU % (100000 peers)", 0.6, false, 0.5, 0, false},
		{"CPU % of 10000 connected peers, keepalive 25 s", 0.27, false, 0.3, 0.5, true},
		{"CPU us, handshakes", 150, false, 200, 300, true},
		{"of wireguard-go's, handshakes", 0.5, false, 0.42, 1, false},
		{"CPU us, bad-mac1", 1.25, false, 1.5, 0, true},
		{"TCP left beside bad-mac1", 0.875, true, 0.9, 0.5, false},
		{"TCP left beside duplicates", 0.91, true, 0.9, 0, true},
	}
	if !reflect.DeepEqual(r.Bounds, want) || r.kept() {
		t.Errorf("%+v, kept: %v", r.Bounds, r.kept())
	}
	alone := &results{Judged: "culvert", Sizes: []size{{Program: "culvert", Peers: 9, PeersPerS: 200e3, BytesPerPeer: 1000}}}
	if alone.judge(); !alone.kept() || len(alone.Bounds) != 5 {
		t.Errorf("without a nstest.Rival, just so: %+v", alone.Bounds)
	}
	short := &results{Judged: "culvert", Connected: []connected{{Program: "culvert", Peers: 10000, Interval: 5, Percent: 9}, {Program: "culvert", Peers: 1000, Interval: 25, Percent: 9}}}
	if short.judge(); !short.kept() {
		t.Error("another interval is judged")
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
		"| 100,000 | culvert | 250,000 | 0.00 | 900 | 0.00 | 50, 2000 | 0.600 | 130 |",
		"| bytes a peer | idle | after handshakes |",
		"| peers | 416 | 416 |",
		"| rest | -1.00 | |",
		"| keypairs | | 400 |",
		"| sum: RSS | 415 | 816 |",
		"| of peers | 100,000 | 1,000 |",
		"| 10,000 | culvert | 25 | 50.0 | 20,000 | 9 | 0.270 | 6.75 | 20.0 |",
		"| handshakes | 150 | 300 | 0.0; 0.00, 0.00 | 10.0; 0.00, 0.00 |",
		"| bad-mac1 | 1.25 | | 0.0; 0.00, 0.00 | |",
		"| bad-mac1 | culvert | 123,456 | 4.00 | 3.50 | 0.88 | 0.85 0.88 0.90 |",
		"culvert, handshakes: offered 0, 0 events a second, RSS 0.00 MiB, handshake p50 1.50 p99 0.00 ms, 0 failed, 3 cookies; dropped: socket 0 bad_tag 7",
		"culvert, TCP beside bad-mac1; dropped: socket 6 bad_mac1 5",
		"| us to remove one (100000 peers) | <= | 1,000 | 2,000 | FAIL | |",
		"| peers set per second (100000 peers) | >= | 200,000 | 250,000 | PASS | 9.00 |",
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

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 1.234: "1.23", -12.34: "-12.3", 123.4: "123", 999.6: "1,000", 1234567: "1,234,567", -5430.2: "-5,430"} {
		if got := number(x); got != want {
			t.Errorf("%v is %s, not %s", x, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	r, file := sample(), filepath.Join(t.TempDir(), "scale.json")
	r.judge()
	if err := nstest.WriteJSON(file, r); err != nil {
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
	if err != nil || len(o.sizes) != 5 || len(o.tests) != len(tests) || len(o.programs) != 0 || o.length != 5*time.Second || o.connected != 10_000 || o.interval != 25 || len(o.floods) != 4 || o.rounds != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-peers=", "-tests=bad-mac1,data", "-floods=garbage", "-connected=0", "-rate=5", "a=b c", "d=e"})
	if err != nil || len(o.sizes) != 0 || len(o.tests) != 2 || len(o.floods) != 1 || o.floods[0] != load.Garbage || o.connected != 0 || o.rate != 5 || len(o.programs) != 2 || o.programs[0].Args[1] != "c" {
		t.Errorf("%+v, %v", o, err)
	}
	if r := newResults(&o); r.Judged != "a" || r.Against != "d" {
		t.Errorf("%s is judged against %s", r.Judged, r.Against)
	}
	for _, bad := range []string{"-peers=0", "-peers=ten", "-peers=99999999", "-tests=x", "-clients=0", "-under-way=0", "-rate=-1", "-seconds=0", "-seconds=NaN", "-floods=x", "-connected=-1", "-keepalive=0", "-keepalive=31", "-idle=-1", "-idle=NaN", "x", "=y", "x="} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%q is right", bad)
		}
	}
}
