//go:build linux

package main

import (
	"math"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// test is one measurement in a fresh tunnel.
type test struct {
	name, doc string
	run       func(*tunnel, *session) (values, error)
	// hub is set instead of run where the tunnel is not one of two daemons.
	hub func(program, *session) (values, error)
	// takes says about how long it takes, in seconds; s is that of throughput
	// measurements.
	takes func(s float64) float64
	// extra tests run only when they are named.
	extra bool
}

// tests are all there are, in the order they run in.
var tests = []test{
	{name: "idle", doc: "memory with one peer and a session, without traffic", run: idle, takes: fixed(4)},
	{name: "tcp1", doc: "one TCP stream: rate, processor time, context switches", run: tcp("TCP 1 stream"), takes: once},
	{name: "tcp8", doc: "eight TCP streams", run: tcp("TCP 8 streams", "-P", "8"), takes: once},
	{name: "bidir", doc: "a TCP stream in each direction at once", run: tcp("TCP both ways", "--bidir"), takes: once},
	{name: "connect", doc: "many short TCP connections, 16 at a time", run: connections, takes: once},
	{name: "udp1200", doc: "UDP of 1200 bytes: what arrives when nothing limits the sender; the highest rate that loses at most 1 %, and the processor time of a packet there", run: udp(1200, "UDP 1200 B"), takes: searching},
	{name: "udp512", doc: "likewise of 512 bytes", run: udp(512, "UDP 512 B"), takes: searching},
	{name: "udp64", doc: "likewise of 64 bytes", run: udp(64, "UDP 64 B"), takes: searching},
	{name: "ping", doc: "round trips: flood, one every 2 ms, and beside a TCP stream", run: pings, takes: func(s float64) float64 { return s + 5 }},
	{name: "trickle", doc: "64 bytes, 5,000 and 20,000 a second one by one: processor time of a packet in the daemon that sends and in the one that receives", run: trickles, takes: func(s float64) float64 { return 2*s + 2 }},
	{name: "peers", doc: "50 peers of one daemon at once, each offered the same, more than it can do: the share of the worst", hub: fiftyPeers, takes: func(s float64) float64 { return 2*s + 3 }},
	{name: "calls", doc: "system calls per packet, counted by the kernel, which makes each a little slower: so apart from the rest", run: calls, takes: fixed(7)},
	{name: "iperf1200", doc: "only when named: udp1200 with iperf3 as the sender", run: iperfUDP(1200, "iperf3 UDP 1200 B"), takes: searching, extra: true},
}

func fixed(seconds float64) func(float64) float64 { return func(float64) float64 { return seconds } }
func once(s float64) float64                      { return s + 2 }
func searching(s float64) float64                 { return 9 + 3*s }

// defaultTests are the names of those that run unless others are named.
func defaultTests() (names []string) {
	for _, t := range tests {
		if !t.extra {
			names = append(names, t.name)
		}
	}
	return names
}

func testByName(name string) (test, bool) {
	for _, t := range tests {
		if t.name == name {
			return t, true
		}
	}
	return test{}, false
}

// session is what tests are told, and where they leave remarks.
type session struct {
	seconds int    // of a throughput measurement
	program string // being measured
	notes   *results
}

// note keeps a remark about the program being measured.
func (s *session) note(format string, args ...any) {
	s.notes.note(s.program+": "+format, args...)
}

// measure runs a test once with a daemon, in a tunnel of its own, so that it
// does not find what another left.
func measure(t test, p program, s *session) (v values, err error) {
	if t.hub != nil {
		return t.hub(p, s)
	}
	tunnel, err := newTunnel(p)
	if err != nil {
		return nil, err
	}
	defer tunnel.close()
	if v, err = t.run(tunnel, s); err != nil {
		return nil, err
	}
	v[peakRSS(t)] = tunnel.memory("VmHWM")
	return v, tunnel.close()
}

// peakRSS is the name of the figure with the largest memory during a test.
func peakRSS(t test) string { return "RSS " + t.name + " peak MiB" }

// worst is the largest memory during any of the tests of a round.
func worst(round values) (mib float64) {
	for name, x := range round {
		if strings.HasPrefix(name, "RSS ") {
			mib = math.Max(mib, x)
		}
	}
	return mib
}

// idle waits until memory no longer changes: for 2 s at least, 10 at most.
func idle(t *tunnel, _ *session) (values, error) {
	begin, last, since := time.Now(), 0.0, time.Now()
	nstest.Eventually(10*time.Second, func() bool {
		if now := t.memory("VmRSS"); now != last {
			last, since = now, time.Now()
		}
		return time.Since(begin) > 2*time.Second && time.Since(since) > time.Second
	})
	return values{"RSS idle MiB": last}, nil
}
