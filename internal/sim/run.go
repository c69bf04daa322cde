package sim

import (
	"testing"
	"testing/synctest"
)

// Config says which run to make.
type Config struct {
	Seed  uint64
	Nodes int // 0: as many as the seed says, 2 to 20
	// Without are events of the seed's that do not happen, by their number.
	Without map[int]bool

	faults faults
}

// Result is what came of a run.
type Result struct {
	Failure    string   // the rule that was broken; "": none
	Transcript []string // a line an event
	Events     int      // how many there were to leave out
	Stats      Stats
}

// Run makes a run in a bubble of its own. What it gives depends on c alone.
func Run(t *testing.T, c Config) (r Result) {
	synctest.Test(t, func(t *testing.T) {
		p := drawPlan(c.Seed, c.Nodes)
		r.Events = len(p.events)
		p.leaveOut(c.Without)
		w := newWorld(p, c.faults)
		w.run()
		r.Failure, r.Transcript, r.Stats = w.failure, w.lines, w.stats
	})
	return r
}

// leaveOut takes events out of the plan, but for fixed ones.
func (p *plan) leaveOut(without map[int]bool) {
	var kept []event
	for i, e := range p.events {
		if e.fixed || !without[i] {
			kept = append(kept, e)
		}
	}
	p.events = kept
}
