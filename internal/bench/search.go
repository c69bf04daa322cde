//go:build linux

package main

import "math"

// trial is what came of offering UDP at one rate. Rates are in packets a
// second.
type trial struct {
	sent, received float64
	daemons        usage   // of both, meanwhile
	packets        int64   // received
	burst          float64 // packets sent together, mean
	disturbed      bool    // other processes used the machine meanwhile
}

// loss is the share of packets that did not arrive, 0 to 1.
func (t trial) loss() float64 {
	if t.sent == 0 {
		return 1
	}
	return max(0, 1-t.received/t.sent)
}

// The search for the highest rate that loses at most allowedLoss.
const (
	allowedLoss = 0.01
	precision   = 1.06 // of the rate: it ends when the bounds are this close
	lowestRate  = 500  // packets a second: below it nothing is measured
	highestRate = 1e8  // no sender gets there: the search ends
	// atRate is the share of the rate that a sender must reach. If it does not
	// and yet nothing is lost, the sender is the limit.
	atRate = 0.95
)

// search finds the highest rate at which offer(rate, long) loses at most
// allowedLoss. Between two bounds it halves (geometrically) the interval with
// short trials, then confirms what it found with a long one, so that a queue
// that takes up a short trial's surplus, or luck, does not count.
//
// Noise of a busy machine only ever adds loss, or keeps the sender from its
// rate. So a rate is refused only when all of a few trials lose too much, and
// the confirmed rate is raised as long as the long trials pass: a refusal that
// was noise does not stay. Some trials that were disturbed do not count at all.
// The procedure knows nothing about who is measured.
//
// start is where it begins; bySender says that the sender and not the tunnel
// was the limit. If even lowestRate is too much the result is a zero trial.
func search(start float64, offer func(rate float64, long bool) (trial, error)) (best trial, bySender bool, err error) {
	s := searcher{offer: offer, bad: math.Inf(1), patience: 20}
	rate := max(start, lowestRate)
	for s.err == nil && s.bad > s.good*precision && rate >= lowestRate && rate < highestRate {
		s.try(rate, false)
		switch {
		case s.good == 0:
			rate /= 2
		case math.IsInf(s.bad, 1):
			rate = s.good * 1.5
		default:
			rate = math.Sqrt(s.good * s.bad)
		}
	}
	return s.confirm()
}

// searcher is a search under way.
type searcher struct {
	offer     func(rate float64, long bool) (trial, error)
	good, bad float64 // a rate that passed, one that did not
	last      trial   // that of good
	bySender  bool    // bad is what the sender could do
	patience  int     // how many more disturbed trials do not count
	err       error
}

// How often a rate is offered before it is refused, or the sender found too
// slow: in short and in long trials.
const (
	shortTries = 3
	longTries  = 2
)

// try offers a rate, and moves one of the bounds.
func (s *searcher) try(rate float64, long bool) (passed bool) {
	var best trial
	tries := shortTries
	if long {
		tries = longTries
	}
	for ; tries > 0; tries-- {
		var t trial
		if t, s.err = s.offer(rate, long); s.err != nil {
			return false
		}
		if t.loss() <= allowedLoss && t.sent > best.sent {
			best = t
		}
		if best.sent >= atRate*rate {
			break
		}
		if t.disturbed && s.patience > 0 {
			s.patience--
			tries++
		}
	}
	if best.sent == 0 {
		s.bad, s.bySender = rate, false
		return false
	}
	s.last, s.good, s.bySender = best, rate, best.sent < atRate*rate
	if s.bySender {
		s.good, s.bad = best.sent, best.sent
	}
	return true
}

// confirm goes down, in steps that grow, until a long trial passes, and then up
// until one does not.
func (s *searcher) confirm() (best trial, bySender bool, err error) {
	rate, found := s.good, false
	for step := precision; !found && s.err == nil && rate >= lowestRate; step *= step {
		if found = s.try(rate, true); !found {
			rate /= step
		}
	}
	if !found {
		return trial{}, false, s.err
	}
	const steps = 6 // up, at most
	best = s.last
	for i := 0; i < steps && !s.bySender; i++ {
		if rate *= precision; !s.try(rate, true) {
			break
		}
		best = s.last
	}
	return best, s.bySender, s.err
}
