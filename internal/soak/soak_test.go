//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// A short soak of the daemon that CULVERT names finds nothing.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("makes namespaces")
	}
	if err := nstest.Missing("ip", "wg", "ethtool"); err != nil {
		t.Skip(err)
	}
	if os.Getenv("CULVERT") == "" {
		t.Skip("CULVERT does not name a daemon")
	}
	o, err := parse([]string{"-minutes", "0", "-phase", "0.4", "-rate", "500", "-json", filepath.Join(t.TempDir(), "soak.json")})
	if err != nil {
		t.Fatal(err)
	}
	well, err := soak(t.Context(), o)
	if closed := nstest.CloseAll(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	var r result
	text, err := os.ReadFile(o.json)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || !well || len(r.Found) > 0 || r.Phases != 1+len(disturbances) || len(r.Samples) != r.Phases || r.Received < r.Sent/2 {
		t.Errorf("%v: %d phases, %d of %d packets received, found %q", err, r.Phases, r.Received, r.Sent, r.Found)
	}
}

// steady are the samples of two daemons at which nothing grows, but breathes: cycles of
// phases, one in 20 s.
func steady(samples int) *result {
	r := &result{}
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range samples {
		v := func() vitals {
			return vitals{Descriptors: 26 + rnd.IntN(2), Goroutines: 17 + rnd.IntN(3), RSS: 15<<20 + rnd.Int64N(4<<20), Packets: 3<<20 + rnd.Int64N(1<<20),
				Held: map[string]int{"keypairs": 2 + rnd.IntN(2), "peers": 1, "receiver_indices": 3, "other_objects": i * 1000}}
		}
		s := sample{At: float64(20 * i), Left: v(), Right: v()}
		if i < samples/5 { // warming up
			s.Left.RSS -= 8 << 20
			s.Left.Descriptors -= 2
		}
		r.Samples = append(r.Samples, s)
	}
	return r
}

// What grows is found, however slowly in the end; what breathes, warms up or is odd
// once is not.
func TestGrowthIsFound(t *testing.T) {
	const samples = 200
	for name, c := range map[string]struct {
		spoil func(i int, s *sample)
		found string // nothing if empty
	}{
		"nothing":                         {func(int, *sample) {}, ""},
		"one odd sample":                  {func(i int, s *sample) { s.Left.RSS += int64(i/150%2) * int64((i-150)/49%2) << 30 }, ""},
		"a descriptor every 50 samples":   {func(i int, s *sample) { s.Left.Descriptors += i / 50 }, "left: descriptors grow"},
		"a goroutine every 40 samples":    {func(i int, s *sample) { s.Right.Goroutines += i / 40 }, "right: goroutines grow"},
		"64 KiB a sample":                 {func(i int, s *sample) { s.Right.RSS += int64(i) << 16 }, "right: resident bytes grow"},
		"a batch of packets every fourth": {func(i int, s *sample) { s.Left.Packets += int64(i/4) << 16 }, "left: bytes of packet memory grow"},
		"a keypair every 25 samples":      {func(i int, s *sample) { s.Left.Held["keypairs"] += i / 25 }, "left: keypairs held grow"},
		"an index that is not given back": {func(i int, s *sample) { s.Right.Held["receiver_indices"] += i / 25 }, "right: receiver_indices held grow"},
		"as much as a pool has, at once":  {func(i int, s *sample) { s.Left.Packets += int64(min(i, 10)) << 18 }, "left: 5"},
		"sockets that failed":             {func(_ int, s *sample) { s.Left.Failures = 1 }, "left: sockets failed 1 times"},
	} {
		r := steady(samples)
		for i := range r.Samples {
			c.spoil(i, &r.Samples[i])
		}
		r.AtRest = [2]sample{{Left: vitals{Packets: 3 << 20}}, {Left: vitals{Packets: r.Samples[samples-1].Left.Packets}}}
		if name == "a batch of packets every fourth" {
			r.AtRest[1] = r.AtRest[0] // that is one of the other checks
		}
		r.judge()
		if found := strings.Join(r.Found, "\n"); (c.found == "") != (found == "") || !strings.Contains(found, c.found) || len(r.Found) > 1 {
			t.Errorf("%s: found %q", name, found)
		}
	}
}

// A loss is explained by what was counted of packets in the phase, at either end; one
// that is not is found. Damage and doubles are found in any phase.
func TestLossesAreFound(t *testing.T) {
	lossless, losing := disturbance{name: "calm"}, disturbance{name: "flap", loses: true}
	type flows = []tally
	whole := tally{Sent: 1000, Received: 1000}
	short := tally{Sent: 1000, Received: 990}
	drops := func(reason string, n uint64) vitals { return vitals{Drops: map[string]uint64{reason: 100 + n}} }
	for name, c := range map[string]struct {
		d           disturbance
		left, right vitals
		flows       flows
		notBack     bool
		found       string
		unexplained uint64
	}{
		"all arrived":                 {d: lossless, flows: flows{whole, whole}},
		"ten lost":                    {d: lossless, flows: flows{whole, short}, found: "10 packets lost, of which counters tell 0", unexplained: 10},
		"ten lost and counted":        {d: lossless, flows: flows{short}, left: drops("send_error", 10)},
		"ten lost, nine counted":      {d: lossless, flows: flows{short}, right: drops("replay", 9), found: "counters tell 9", unexplained: 1},
		"counted by the system":       {d: lossless, flows: flows{short}, right: vitals{System: map[string]uint64{"udp": 110}}},
		"handshakes explain no loss":  {d: lossless, flows: flows{short}, right: drops("stale_handshake", 10), found: "counters tell 0", unexplained: 10},
		"older drops explain no loss": {d: lossless, flows: flows{short}, right: drops("replay", 0), found: "counters tell 0", unexplained: 10},
		"nothing was sent":            {d: losing, flows: flows{{Refused: 10}}, found: "0 packets sent"},
		"nothing arrived":             {d: lossless, flows: flows{{Sent: 10}}, left: drops("no_peer", 10), found: "0 arrived"},
		"a disturbance that loses":    {d: losing, flows: flows{short}},
		"traffic that does not go on": {d: losing, flows: flows{short}, notBack: true, found: "no traffic 15s later"},
		"damage":                      {d: losing, flows: flows{{Sent: 10, Received: 9, Damaged: 1}}, found: "1 damaged"},
		"doubles":                     {d: losing, flows: flows{{Sent: 10, Received: 10, Twice: 1}}, found: "1 twice"},
		"more than was sent":          {d: losing, flows: flows{{Sent: 10, Received: 11}}, found: "11 packets arrived of 10 sent"},
	} {
		before := vitals{Drops: map[string]uint64{"send_error": 100, "replay": 100, "stale_handshake": 100, "no_peer": 100}, System: map[string]uint64{"udp": 100}}
		r := &result{Samples: []sample{{Left: before, Right: before}}}
		r.add(c.d, sample{Left: c.left, Right: c.right}, c.flows, !c.notBack)
		if found := strings.Join(r.Found, "\n"); (c.found == "") != (found == "") || !strings.Contains(found, c.found) || r.Unexplained != c.unexplained {
			t.Errorf("%s: %d unexplained, found %q", name, r.Unexplained, found)
		}
	}
}

// A flow tells damage, doubles and late packets from good ones.
func TestFlowCounts(t *testing.T) {
	f := &flow{fill: []byte(strings.Repeat("abcdefg", 300))}
	var seen [dedupSize]uint64
	f.phase.Store(7)
	packet := func(phase uint32, number uint64) []byte {
		p := make([]byte, 100)
		f.make(p, phase, number)
		return p
	}
	damaged := packet(7, 5)
	damaged[50] ^= 1
	for _, p := range [][]byte{packet(7, 1), packet(7, 2), packet(7, 2), packet(6, 3), damaged, {1, 2}, packet(7, 2+dedupSize)} {
		f.take(p, &seen)
	}
	if got := f.tally(); got != (tally{Received: 3, Damaged: 2, Twice: 1}) {
		t.Errorf("%+v", got)
	}
}

// What the system says of sockets and interfaces, as it says it.
func TestSystemDrops(t *testing.T) {
	const udp = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  128: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 7
  129: 0101A8C0:CA6D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2 2 0 5
`
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0
  wg0: 100 10 1 2 0 0 0 0 200 20 4 8 0 0 0 0
`
	if n := udpDrops(udp); n != 12 {
		t.Errorf("sockets dropped %d", n)
	}
	if n := linkDrops(dev, "wg0"); n != 15 {
		t.Errorf("the interface dropped %d", n)
	}
	if n := linkDrops(dev, "wg"); n != 0 {
		t.Errorf("an interface that is not there dropped %d", n)
	}
}

// However long it takes, samples are bounded, and the last one is kept.
func TestSamplesAreBounded(t *testing.T) {
	r := &result{}
	for i := range 10 * maxSamples {
		r.keep(sample{At: float64(i)})
		if len(r.Samples) > maxSamples || r.Samples[len(r.Samples)-1].At != float64(i) {
			t.Fatalf("%d samples after %d", len(r.Samples), i+1)
		}
	}
	if growth := growth(make([]float64, maxSamples), make([]float64, maxSamples)); growth != 0 {
		t.Errorf("samples of one moment grow by %v", growth)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-minutes", "2.5", "-rate", "200", "culvert=/bin/true"})
	if err != nil || o.length != 150*time.Second || o.phase != 2*time.Second || o.rate != 200 || o.program.Name != "culvert" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{"-minutes -1", "-minutes NaN", "-phase 0", "-rate 1", "-rate 100000", "a b", "x=y z=w", "-nonsense"} {
		if _, err := parse(strings.Fields(args)); err == nil || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
