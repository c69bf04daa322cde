//go:build linux

package main

import (
	"fmt"
	"time"
)

// udpGap is the least time between two bursts of the sender in the search: at
// 200,000 packets a second they are of 20.
const udpGap = 100 * time.Microsecond

// udp looks for the highest rate that loses at most 1 %.
func udp(size int, name string) func(*tunnel, *session) (values, error) {
	return func(t *tunnel, s *session) (values, error) {
		flood, err := try(t, size, 0, 1)
		if err != nil {
			return nil, err
		}
		best, bySender, err := search(flood.received, func(rate float64, long bool) (trial, error) {
			if long {
				return try(t, size, rate, float64(s.seconds))
			}
			return try(t, size, rate, 1)
		})
		if err != nil {
			return nil, err
		}
		if best.packets == 0 {
			return nil, fmt.Errorf("loses more than %.0f %% of %d packets of %d bytes a second", allowedLoss*100, lowestRate, size)
		}
		v := values{
			name + " flood kpps received": flood.received / 1e3,
			name + " flood kpps sent":     flood.sent / 1e3,
			name + " kpps at 1% loss":     best.received / 1e3,
			name + " CPU us/packet":       best.daemons.micros(best.packets),
			name + " switches/packet":     best.daemons.switchesPer(best.packets),
			name + " limited by sender":   0,
		}
		if bySender {
			v[name+" limited by sender"] = 1
			s.note("%s: the sender could offer no more on this machine, and what it sent arrived", name)
		}
		return v, nil
	}
}

// try offers UDP at a rate, 0 for all the sender can.
func try(t *tunnel, size int, rate, seconds float64) (trial, error) {
	before := t.usage()
	sent, received, err := offer(t, size, rate, udpGap, seconds)
	if err != nil {
		return trial{}, err
	}
	return trial{sent: sent.rate(), received: float64(received) / sent.seconds, daemons: t.usage().minus(before), packets: received}, nil
}

// trickles are the rates of single packets, with their names.
var trickleRates = []struct {
	rate float64
	name string
}{{5e3, "trickle 5k/s"}, {20e3, "trickle 20k/s"}}

// trickleSize is the payload of their packets, in bytes.
const trickleSize = 64

// trickles sends packets one by one, not in bursts: what a daemon does for one
// packet shows here, and nothing can be shared.
func trickles(t *tunnel, s *session) (values, error) {
	v := values{}
	for _, r := range trickleRates {
		out, in := usageOf(t.left.Daemon.PID), usageOf(t.right.Daemon.PID)
		sent, received, err := offer(t, trickleSize, r.rate, 0, float64(s.seconds))
		if err != nil {
			return nil, err
		}
		out, in = usageOf(t.left.Daemon.PID).minus(out), usageOf(t.right.Daemon.PID).minus(in)
		v[r.name+" out CPU us/packet"] = out.micros(sent.packets)
		v[r.name+" in CPU us/packet"] = in.micros(received)
		v[r.name+" switches/packet"] = out.plus(in).switchesPer(received)
		v[r.name+" packets in a burst"] = sent.burst()
		v[r.name+" packets in the largest burst"] = float64(sent.largest)
		v[r.name+" sent /s"] = sent.rate()
		v[r.name+" loss %"] = 100 * max(0, 1-float64(received)/float64(sent.packets))
	}
	return v, nil
}
