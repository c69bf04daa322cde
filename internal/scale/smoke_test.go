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
		before, sent := b.drops(), flooded(t, b, kind)
		if kind == load.Duplicates {
			sent-- // the first was none
		}
		want := map[string]uint64{reasons[kind]: uint64(sent)}
		var got map[string]uint64
		if !nstest.Eventually(10*time.Second, func() bool {
			got = since(b.drops(), before)
			return len(got) == 1 && got[reasons[kind]] == want[reasons[kind]]
		}) {
			t.Errorf("%s: dropped %v, want %v", kind, got, want)
		}
	}
}

// flooded has few enough sent that none is lost, and handshakes put no load on the
// daemon, and gives how many.
func flooded(t *testing.T, b *bench, kind load.Kind) int64 {
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
	s, err := measureSize(nstest.Program{Name: "culvert", Args: []string{os.Getenv("CULVERT")}}, 500)
	if err != nil || s.Peers != 500 || s.PeersPerS <= 0 || s.AddMicros <= 0 || s.RemoveMicros <= 0 || s.GetSeconds <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
