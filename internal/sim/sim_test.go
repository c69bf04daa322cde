package sim

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How `make sim` runs: go test ./internal/sim -run TestLong -args -for 1h ...
var (
	duration = flag.Duration("for", 0, "run seeds for so long")
	first    = flag.Uint64("first", 1, "the first `seed`")
	nodes    = flag.Int("nodes", 0, "nodes of each run; 0: as many as its seed says, 2 to 20")
	shrink   = flag.Duration("shrink", 30*time.Second, "look so long for fewer events that fail")
	every    = flag.Duration("every", 5*time.Second, "between lines of progress")
)

// fixedSeeds are run by every `go test`, and then fresh ones for freshFor.
const (
	fixedSeeds = 4
	freshFor   = 5 * time.Second
)

// try runs a seed. A failure is shrunk for a while, and shown with its last lines;
// SIM_TRANSCRIPT names a file for all of it.
func try(t *testing.T, c Config) (Result, bool) {
	t.Helper()
	r := Run(t, c)
	if r.Failure == "" {
		return r, true
	}
	t.Errorf("seed %d: %s\nreplay: SIM_SEED=%d SIM_NODES=%d go test ./internal/sim -run TestSeeds", c.Seed, r.Failure, c.Seed, c.Nodes)
	small, shrunk := Shrink(t, c, r.Events, *shrink)
	t.Logf("the same with %d events less: %s\n%s", len(small.Without), shrunk.Failure, tail(shrunk.Transcript, 150))
	if name := os.Getenv("SIM_TRANSCRIPT"); name != "" {
		if err := os.WriteFile(name, []byte(tail(r.Transcript, len(r.Transcript))), 0o644); err != nil {
			t.Error(err)
		}
	}
	return r, false
}

func tail(lines []string, n int) string {
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// TestSeeds runs some seeds that are always the same, and some that are new; or the one
// of SIM_SEED.
func TestSeeds(t *testing.T) {
	if s := os.Getenv("SIM_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		n, _ := strconv.Atoi(os.Getenv("SIM_NODES"))
		if err != nil {
			t.Fatal(err)
		}
		r, _ := try(t, Config{Seed: seed, Nodes: n})
		t.Log(r.Stats.line())
		return
	}
	total, begin := newStats(), time.Now()
	fresh := uint64(begin.UnixMicro())
	for i := uint64(0); i < fixedSeeds || time.Since(begin) < freshFor; i++ {
		seed := i + 1
		if i >= fixedSeeds {
			seed = fresh + i
		}
		r, ok := try(t, Config{Seed: seed, Nodes: 2 + int(seed%4)})
		if !ok {
			return
		}
		total.Add(&r.Stats)
	}
	t.Logf("fresh seeds from %d; %s", fresh+fixedSeeds, total.line())
	if total.Delivered < 1000 || total.Sent["response"] < 20 || total.Sent["keepalive"] < 20 || len(total.Events) < 20 {
		t.Errorf("too little happened: %+v", total)
	}
}

// The same seed gives the same transcript, to the letter, on one processor and on two.
func TestSameSeedSameTranscript(t *testing.T) {
	var last []string
	for _, seed := range []uint64{5, 8} {
		c := Config{Seed: seed, Nodes: 3}
		one := on(1, func() Result { return Run(t, c) })
		two := on(2, func() Result { return Run(t, c) })
		if slices.Equal(one.Transcript, last) {
			t.Error("two seeds have the same transcript")
		}
		last = one.Transcript
		for i := range min(len(one.Transcript), len(two.Transcript)) {
			if one.Transcript[i] != two.Transcript[i] {
				t.Fatalf("seed %d, line %d:\n%s\n%s", seed, i, one.Transcript[i], two.Transcript[i])
			}
		}
		if len(one.Transcript) != len(two.Transcript) || len(one.Transcript) < 1000 {
			t.Errorf("seed %d: %d and %d lines", seed, len(one.Transcript), len(two.Transcript))
		}
	}
}

func on(processors int, run func() Result) Result {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	return run()
}

// TestLong is `make sim`.
func TestLong(t *testing.T) {
	if *duration == 0 {
		t.Skip("this is for `make sim`")
	}
	total, begin, said := newStats(), time.Now(), time.Now()
	for seed := *first; time.Since(begin) < *duration; seed++ {
		r, ok := try(t, Config{Seed: seed, Nodes: *nodes})
		total.Add(&r.Stats)
		if !ok {
			fmt.Printf("seed %d failed: make sim SIM='-for 1s -first %d -nodes %d'\n", seed, seed, *nodes)
			return
		}
		if time.Since(said) >= *every {
			said = time.Now()
			fmt.Printf("%v: next seed %d; %s\n", time.Since(begin).Round(time.Second), seed+1, total.line())
		}
	}
	fmt.Printf("done: %s\n", total.line())
}

// line is the statistics in a line.
func (s *Stats) line() string {
	var drops []string
	for _, r := range slices.Sorted(maps.Keys(s.Drops)) {
		if n := s.Drops[r]; n > 0 {
			drops = append(drops, fmt.Sprintf("%s %d", r, n))
		}
	}
	return fmt.Sprintf("%d seeds, %.1f h of virtual time, %d packets, %d delivered, %d excused, %d datagrams %v, dropped: %s",
		s.Seeds, s.Virtual.Hours(), s.Packets, s.Delivered, s.Excused, s.Datagrams, s.Sent, strings.Join(drops, ", "))
}
