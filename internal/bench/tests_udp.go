//go:build linux

package main

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// udpGap is the least time between two bursts of the sender in the search: at
// 200,000 packets a second they are of 20.
const udpGap = 100 * time.Microsecond

// The length of the flood, and of a short trial, in seconds.
const (
	floodSeconds = 1
	shortSeconds = 0.6
)

// udp looks for the highest rate that loses at most 1 %.
func udp(size int, name string) func(*tunnel, *session) (values, error) {
	return func(t *tunnel, s *session) (values, error) {
		flood, err := try(t, s, size, 0, floodSeconds)
		if err != nil {
			return nil, err
		}
		best, bySender, err := search(flood.received, func(rate float64, long bool) (trial, error) {
			if long {
				return try(t, s, size, rate, float64(s.seconds))
			}
			return try(t, s, size, rate, shortSeconds)
		})
		if err != nil {
			return nil, err
		}
		v, err := found(best, bySender, name, s)
		if err == nil {
			v[name+" flood kpps received"] = flood.received / 1e3
			v[name+" flood kpps sent"] = flood.sent / 1e3
			v[name+" packets in a burst"] = best.burst
		}
		return v, err
	}
}

// found are the figures of a search's result.
func found(best trial, bySender bool, name string, s *session) (values, error) {
	if best.packets == 0 {
		return nil, fmt.Errorf("%s: loses more than %.0f %% of %d packets a second", name, allowedLoss*100, lowestRate)
	}
	v := values{
		name + " kpps at 1% loss":   best.received / 1e3,
		name + " CPU us/packet":     best.daemons.micros(best.packets),
		name + " switches/packet":   best.daemons.switchesPer(best.packets),
		name + " limited by sender": 0,
	}
	if bySender { // then it is a bound from below
		v[name+" limited by sender"] = 1
		s.note("%s: the sender could offer no more on this machine, and what it sent arrived", name)
	}
	return v, nil
}

// try offers UDP at a rate, 0 for all the sender can.
func try(t *tunnel, s *session, size int, rate, seconds float64) (trial, error) {
	begin, before, others := time.Now(), t.usage(), othersNow()
	sent, received, err := offer(t, s, size, rate, udpGap, seconds)
	if err != nil {
		return trial{}, err
	}
	used, now := t.usage().minus(before), othersNow()
	now.ours += used.cpu
	return trial{
		sent: sent.rate(), received: float64(received) / sent.seconds, packets: received, burst: sent.burst(),
		daemons: used, disturbed: now.since(others, time.Since(begin)) > disturbing,
	}, nil
}

// iperfStart is where the search with iperf3 begins, in packets a second.
const iperfStart = 40e3

// iperfUDP is the same search with iperf3 as the sender, to see what the
// harness's own makes of the figures.
func iperfUDP(size int, name string) func(*tunnel, *session) (values, error) {
	return func(t *tunnel, s *session) (values, error) {
		best, bySender, err := search(iperfStart, func(rate float64, long bool) (trial, error) {
			seconds := 1 // it counts whole ones
			if long {
				seconds = s.seconds
			}
			bits := strconv.FormatInt(int64(rate*float64(size)*8), 10)
			r, used, err := load(t, seconds, "-u", "-l", strconv.Itoa(size), "-b", bits, "--pacing-timer", "100")
			took := math.Max(r.Seconds, 1e-3)
			return trial{sent: float64(r.Packets) / took, received: float64(r.Received()) / took, packets: r.Received(), daemons: used}, err
		})
		if err != nil {
			return nil, err
		}
		return found(best, bySender, name, s)
	}
}
