//go:build linux

package main

import (
	"context"
	"net/netip"
	"time"

	"culvert/internal/load"
	"culvert/tun/tuntest"
)

// test is something that happens to a daemon, again and again.
type test struct {
	name, doc string
	storm     bool    // of handshakes
	rate      float64 // a second if -rate does not say; 0: as many as can be
	run       func(context.Context, *bench, float64) (outcome, error)
}

// outcome is what a test did.
type outcome struct {
	offered int64             // datagrams; what the socket dropped of them is no event
	events  int64             // or events, if something else is counted
	elapsed time.Duration     // that it was offered in
	storm   *load.StormResult // nil if it is none
}

// dhRate is below what puts a daemon under load: then each datagram costs it a
// Diffie-Hellman, and it sends no cookies.
const dhRate = 3000

// tests are all, in the order in which they make sense: who is under load wants cookies
// for a second.
var tests = []test{
	{"handshakes", "clients begin their first session, -under-way at a time", true, 0, storm},
	{"rekeys", "the same clients begin another one", true, 0, storm},
	{"keepalives", "the clients' sessions send keepalives in turn", false, 0, traffic(func(*bench, int) []byte { return nil })},
	{"data", "and small packets", false, 0, traffic((*bench).packet)},
	{"garbage", "datagrams that are no messages", false, 0, flood(load.Garbage)},
	{"bad-mac1", "initiations by those who do not know the daemon's key", false, 0, flood(load.BadMAC1)},
	{"no-session", "transport messages with an index that nobody has", false, 0, flood(load.NoSession)},
	{"forged", "transport messages to a session that do not authenticate", false, 0, flood(load.Forged)},
	{"duplicates", "one transport message of a session", false, 0, flood(load.Duplicates)},
	{"unknown-key", "good initiations of strangers, too few for cookies", false, dhRate, flood(load.UnknownKey)},
	{"replays", "an initiation that was answered before, likewise", false, dhRate, flood(load.Replays)},
	{"unknown-key-flood", "good initiations of strangers, as many as can be", false, 0, flood(load.UnknownKey)},
}

func testNames() (names []string) {
	for _, t := range tests {
		names = append(names, t.name)
	}
	return names
}

func storm(ctx context.Context, b *bench, rate float64) (outcome, error) {
	r, err := b.clients.Storm(ctx, load.StormOptions{
		Count: b.clients.Len() - 1, UnderWay: b.underWay, Rate: rate, Begin: b.length, Grace: time.Second,
	})
	return outcome{offered: int64(r.Begun), events: int64(r.Done), elapsed: max(r.Elapsed, time.Microsecond), storm: &r}, err
}

func traffic(packet func(*bench, int) []byte) func(context.Context, *bench, float64) (outcome, error) {
	return func(ctx context.Context, b *bench, rate float64) (outcome, error) {
		s, err := b.clients.Traffic(ctx, func(i int) []byte { return packet(b, i) }, rate, b.length)
		return outcome{offered: s.Datagrams, elapsed: s.Elapsed}, err
	}
}

func flood(kind load.Kind) func(context.Context, *bench, float64) (outcome, error) {
	return func(ctx context.Context, b *bench, rate float64) (outcome, error) {
		s, err := b.clients.Flood(ctx, kind, rate, b.length)
		return outcome{offered: s.Datagrams, elapsed: s.Elapsed}, err
	}
}

// packet is a small one from a client to the sink.
func (b *bench) packet(i int) []byte {
	to := netip.AddrPortFrom(nearIP, sinkPort)
	return tuntest.UDP(netip.AddrPortFrom(b.clients.Inner(i), sinkPort), to, make([]byte, 36))
}
