//go:build linux

package main

import (
	"context"
	"os"
	"testing"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

// smoke is the daemon that CULVERT names, with so many clients.
func smoke(t *testing.T, clients int) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("makes namespaces")
	}
	if err := nstest.Missing("ip"); err != nil {
		t.Skip(err)
	}
	path := os.Getenv("CULVERT")
	if path == "" {
		t.Skip("CULVERT does not name a daemon")
	}
	o := &options{clients: clients, underWay: 32, length: 100 * time.Millisecond}
	b, err := startBench(t.Context(), nstest.Program{Name: "culvert", Args: []string{path}}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// All clients of a storm get a session, twice, and floods of all kinds are dropped for
// the reason that is right.
func TestStormsAndFloods(t *testing.T) {
	const clients = 200
	b := smoke(t, clients)
	for range 2 {
		var r load.StormResult
		err := b.h.Do(func() (err error) {
			r, err = b.clients.Storm(t.Context(), load.StormOptions{Count: clients, UnderWay: 32, Begin: 20 * time.Second, Grace: 20 * time.Second})
			return err
		})
		if err != nil || r.Done != clients || r.Failed != 0 || r.Latency.Count != clients || b.clients.Sessions() != clients {
			t.Fatalf("%+v, %d sessions, %v", r, b.clients.Sessions(), err)
		}
	}
	reasons := map[load.Kind]string{
		load.Garbage: "malformed", load.BadMAC1: "bad_mac1", load.UnknownKey: "unknown_peer", load.Replays: "old_timestamp",
		load.NoSession: "unknown_index", load.Forged: "bad_tag", load.Duplicates: "replay",
	}
	for _, kind := range load.Kinds() {
		before, sent := drops(b.h), sentOf(t, b, kind)
		if kind == load.Duplicates {
			sent-- // the first was none
		}
		want := map[string]uint64{reasons[kind]: uint64(sent)}
		var got map[string]uint64
		if !nstest.Eventually(10*time.Second, func() bool {
			got = since(drops(b.h), before)
			return len(got) == 1 && got[reasons[kind]] == want[reasons[kind]]
		}) {
			t.Errorf("%s: dropped %v, want %v", kind, got, want)
		}
	}
}

// sentOf has few enough sent that none is lost, and handshakes put no load on the
// daemon, and gives how many.
func sentOf(t *testing.T, b *bench, kind load.Kind) int64 {
	t.Helper()
	const most = 300
	var sent load.Sent
	err := b.h.Do(func() error {
		f, err := b.clients.NewFlood(t.Context(), kind)
		if err != nil {
			return err
		}
		defer f.Close()
		sent, err = f.Run(t.Context(), most*10, 100*time.Millisecond)
		return err
	})
	if err != nil || sent.Datagrams < 1 || sent.Datagrams > most+1 {
		t.Fatalf("%s: %+v, %v", kind, sent, err)
	}
	return sent.Datagrams
}

// What a test measures is there, and traffic arrives.
func TestMeasurement(t *testing.T) {
	b := smoke(t, 20)
	for _, test := range tests {
		if test.name != "handshakes" && test.name != "data" && test.name != "bad-mac1" {
			continue
		}
		e, err := b.measure(context.Background(), test, 2000)
		if err != nil {
			t.Fatal(err)
		}
		if e.Events < 1 || e.Events > e.Offered || e.PerS <= 0 || e.RSS <= 0 || e.ProbeSent < 1 || e.ProbeLost > e.ProbeSent {
			t.Errorf("%s: %+v", test.name, e)
		}
		if (e.Handshake != nil) != test.storm {
			t.Errorf("%s: handshakes: %+v", test.name, e.Handshake)
		}
	}
}

// Idle peers are set, counted, added and removed.
func TestSizes(t *testing.T) {
	smoke(t, 1)
	p := nstest.Program{Name: "culvert", Args: []string{os.Getenv("CULVERT")}}
	s, err := measureSize(p, 500, 0)
	if err != nil || s.Peers != 500 || s.PeersPerS <= 0 || s.AddMicros <= 0 || s.RemoveMicros <= 0 || s.GetSeconds <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// What the daemon says that its memory is made up of is all of it, and what it counts is
// what there is.
func TestMemoryIsTold(t *testing.T) {
	const clients = 50
	b := smoke(t, clients)
	if err := b.h.Do(func() error {
		_, err := b.clients.Storm(t.Context(), load.StormOptions{Count: clients, UnderWay: 32, Begin: 20 * time.Second, Grace: 20 * time.Second})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const probe = 1
	want := map[string]int{"peers": clients + probe, "endpoints": clients + probe, "allowed_ip_tables": 2 * (clients + probe), "sessions": clients + probe,
		"keypairs": clients + probe, "handshakes": 0}
	counts, sum := map[string]int{}, int64(0)
	for _, p := range ask(b.h).Memory {
		counts[p.Kind] = p.Count
		sum += p.Bytes
	}
	for kind, n := range want {
		if counts[kind] != n {
			t.Errorf("%d %s, want %d", counts[kind], kind, n)
		}
	}
	if is := rss(b.h.Daemon.PID); sum < is/2 || sum > is*2 { // it was asked a moment before
		t.Errorf("a sum of %d bytes, RSS %d", sum, is)
	}
}

// Clients that rest get the daemon's keepalives, and it says what they cost it.
func TestConnected(t *testing.T) {
	smoke(t, 1)
	p := nstest.Program{Name: "culvert", Args: []string{os.Getenv("CULVERT")}}
	o := &options{programs: []nstest.Program{p}, underWay: 32, connected: 30, interval: 1}
	all, err := measureConnected(t.Context(), o)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if c := all[0]; c.Keepalives < 30 || c.Keepalives > 90 || c.Seconds < 2 || c.RSS <= 0 || len(c.Memory) == 0 || c.LookUps < 0 || c.LookUps > c.Keepalives || c.Program != "culvert" || c.Peers != 30 {
		t.Errorf("%+v", c)
	}
}

// A flood reaches the daemon in one half of the time only, and a stream goes on beside it.
func TestStreamBesideFlood(t *testing.T) {
	smoke(t, 1)
	if err := nstest.Missing("iperf3"); err != nil {
		t.Skip(err)
	}
	p := nstest.Program{Name: "culvert", Args: []string{os.Getenv("CULVERT")}}
	o := &options{programs: []nstest.Program{p}, floods: []load.Kind{load.Duplicates}, rounds: 1, streamSeconds: 1, rate: 1000}
	all, err := measureFloods(t.Context(), o)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	f := all[0]
	if f.Aside <= 0 || f.At <= 0 || f.Ratio != f.At/f.Aside || len(f.Ratios) != 1 || f.Flood != load.Duplicates || f.Program != "culvert" {
		t.Errorf("%+v", f)
	}
	if n := int64(f.Drops["replay"]); n > f.Sent || n < f.Sent-100 { // the first was none; some may be in hand
		t.Errorf("%d are dropped of %d that were sent", n, f.Sent)
	}
}
