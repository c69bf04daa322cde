//go:build linux

package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// link delivers what it can, and loses the rest.
type link struct {
	capacity float64 // packets a second
	sender   float64 // what can be offered
	short    float64 // share of the rate that the sender is short of
	stutter  float64 // share of the trials that lose half, whatever the rate
	told     bool    // those are known to be disturbed
	surplus  float64 // packets that a short trial delivers besides
	r        *rand.Rand
	trials   int
}

func (l *link) offer(rate float64, long bool) (trial, error) {
	l.trials++
	sent := min(rate*(1-l.short), l.sender)
	got := min(sent, l.capacity)
	if !long {
		got = min(sent, l.capacity+l.surplus)
	}
	stutters := l.r.Float64() < l.stutter
	if stutters {
		got /= 2
	}
	return trial{sent: sent, received: got, packets: int64(got), disturbed: stutters && l.told}, nil
}

func TestSearchFindsTheRate(t *testing.T) {
	for _, c := range []struct {
		name     string
		l        link
		start    float64
		want     float64
		bySender bool
	}{
		{"from below", link{capacity: 100e3, sender: 1e6}, 20e3, 100e3, false},
		{"from above", link{capacity: 100e3, sender: 1e6}, 900e3, 100e3, false},
		{"slow", link{capacity: 3e3, sender: 1e6}, 200e3, 3e3, false},
		{"busy machine", link{capacity: 100e3, sender: 1e6, stutter: 0.3}, 60e3, 100e3, false},
		{"busier machine", link{capacity: 100e3, sender: 1e6, stutter: 0.5, told: true}, 60e3, 100e3, false},
		{"queues flatter short trials", link{capacity: 100e3, sender: 1e6, surplus: 25e3}, 60e3, 100e3, false},
		{"short trials say nothing", link{capacity: 100e3, sender: 1e6, surplus: 60e3}, 60e3, 100e3, false},
		{"the sender is the limit", link{capacity: 500e3, sender: 120e3}, 60e3, 120e3, true},
		{"the sender is a little slow", link{capacity: 100e3, sender: 1e6, short: 0.045}, 60e3, 100e3, false},
		{"nothing gets through", link{capacity: 0, sender: 1e6}, 60e3, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				c.l.r, c.l.trials = rand.New(rand.NewPCG(seed, 0)), 0
				best, bySender, err := search(c.start*(1+float64(seed)/100), c.l.offer)
				if err != nil {
					t.Fatal(err)
				}
				// 1 % of loss is allowed, and the precision is 6 %, twice with noise.
				if best.received < c.want/(precision*precision) || best.received > c.want*1.02 || bySender != c.bySender {
					t.Errorf("seed %d: %.0f, limited by the sender %v; want %.0f, %v", seed, best.received, bySender, c.want, c.bySender)
				}
				if best.packets > 0 && best.loss() > allowedLoss {
					t.Errorf("seed %d: the best loses %.3f", seed, best.loss())
				}
				if c.l.trials > 80 {
					t.Errorf("seed %d: %d trials", seed, c.l.trials)
				}
			}
		})
	}
}

// The search ends whatever the trials say.
func TestSearchEnds(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		trials := 0
		search(r.Float64()*1e6, func(rate float64, long bool) (trial, error) {
			if trials++; trials > 1000 {
				return trial{}, errors.New("too many trials")
			}
			sent := rate * r.Float64()
			return trial{sent: sent, received: sent * (1 - 0.02*r.Float64()), packets: 1}, nil
		})
		if trials > 200 {
			t.Fatalf("seed %d: %d trials", seed, trials)
		}
	}
}

func TestSearchEndsWithTheError(t *testing.T) {
	broken := errors.New("broken")
	for after := range 12 {
		l := link{capacity: 1e5, sender: 1e6, r: rand.New(rand.NewPCG(1, 1))}
		_, _, err := search(20e3, func(rate float64, long bool) (trial, error) {
			if l.trials == after {
				return trial{}, broken
			}
			return l.offer(rate, long)
		})
		if err != broken {
			t.Errorf("after %d trials: %v", after, err)
		}
	}
}

func TestLoss(t *testing.T) {
	for _, c := range []struct{ sent, received, want float64 }{{100, 99, 0.01}, {0, 0, 1}, {100, 101, 0}} {
		if got := (trial{sent: c.sent, received: c.received}).loss(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
