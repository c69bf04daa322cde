//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// step is one run of a test with a program.
type step struct {
	round   int
	test    test
	program program
}

// schedule is the order of everything: round by round, and in it test by test,
// with the programs directly after each other, so that what the machine does
// meanwhile hits all alike. Who is first changes with the round.
func schedule(rounds int, tests []test, programs []program) (steps []step) {
	for round := range rounds {
		for _, t := range tests {
			for i := range programs {
				p := programs[(i+round)%len(programs)]
				if t.hub == nil || !p.floor { // the floor has no peers
					steps = append(steps, step{round, t, p})
				}
			}
		}
	}
	return steps
}

// clockwork tells how much time is left: from what the steps took so far,
// else from what they are said to take.
type clockwork struct {
	seconds float64
	took    map[string][]time.Duration // by test
}

func (c *clockwork) note(t test, d time.Duration) {
	if c.took == nil {
		c.took = make(map[string][]time.Duration)
	}
	c.took[t.name] = append(c.took[t.name], d)
}

// left is what the steps will take.
func (c *clockwork) left(steps []step) (sum time.Duration) {
	for _, s := range steps {
		if took := c.took[s.test.name]; len(took) > 0 {
			var all time.Duration
			for _, d := range took {
				all += d
			}
			sum += all / time.Duration(len(took))
		} else {
			sum += time.Duration((s.test.takes(c.seconds) + tunnelSetUp) * float64(time.Second))
		}
	}
	return sum
}

// tunnelSetUp is how long making and removing a tunnel takes, in seconds.
const tunnelSetUp = 1.5

// runAll takes all steps. One that fails is told at the end; the others go on.
func runAll(ctx context.Context, r *results, steps []step) {
	c := clockwork{seconds: float64(r.Seconds)}
	round := make(map[string]values)
	for i, s := range steps {
		progress("%3d/%d  %6s left  round %d  %-8s %s", i+1, len(steps), c.left(steps[i:]).Round(time.Second), s.round+1, s.test.name, s.program.Name)
		begin, before := time.Now(), othersNow()
		v, err := measure(s.test, s.program, &session{r.Seconds, s.program.Name, r})
		if ctx.Err() != nil {
			select {} // the process is about to end, and err the echo of it
		}
		c.note(s.test, time.Since(begin))
		if err != nil {
			r.Failures = append(r.Failures, fmt.Sprintf("%s, round %d, %s: %v", s.program.Name, s.round+1, s.test.name, err))
			progress("FAILED: %v", err)
			continue
		}
		v[s.test.name+" CPU of others"] = othersNow().since(before, time.Since(begin))
		progress("        %s", v)
		r.add(s.program.Name, v)
		for name, x := range v {
			if round[s.program.Name] == nil {
				round[s.program.Name] = values{}
			}
			round[s.program.Name][name] = x
		}
		if i+1 == len(steps) || steps[i+1].round != s.round {
			for name, v := range round {
				r.add(name, values{worstRSS: worst(v)})
			}
			clear(round)
		}
	}
	r.noteOthers(steps)
}

// disturbing is how many processors others may use before it is told.
const disturbing = 0.2

// noteOthers tells how much of the machine others used.
func (r *results) noteOthers(steps []step) {
	disturbed, most := 0, 0.0
	for _, t := range tests {
		for _, p := range r.Programs {
			for _, x := range r.Values[p.Name][t.name+" CPU of others"] {
				if most = max(most, x); x > disturbing {
					disturbed++
				}
			}
		}
	}
	if disturbed > 0 {
		r.note("other processes used more than %s processors during %d of %d runs, at most %s: do not trust the figures", number(disturbing), disturbed, len(steps), number(most))
	}
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
