//go:build linux

package main

// trickleRates are the rates of single packets, with their names.
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
		sent, received, err := offer(t, s, trickleSize, r.rate, 0, float64(s.seconds))
		if err != nil {
			return nil, err
		}
		out, in = usageOf(t.left.Daemon.PID).minus(out), usageOf(t.right.Daemon.PID).minus(in)
		v[r.name+" out CPU us/packet"] = out.micros(received) // what the TUN queue refused cost the daemon nothing
		v[r.name+" in CPU us/packet"] = in.micros(received)
		v[r.name+" switches/packet"] = out.plus(in).switchesPer(received)
		v[r.name+" packets in a burst"] = sent.burst()
		v[r.name+" packets in the largest burst"] = float64(sent.largest)
		v[r.name+" sent /s"] = sent.rate()
		loss := max(0, 1-float64(received)/float64(max(1, sent.packets)))
		v[r.name+" loss %"] = 100 * loss
		if loss > allowedLoss {
			s.note("%s: %.0f %% of the packets were lost in one round: the daemon did not get to run in time", r.name, 100*loss)
		}
	}
	return v, nil
}
