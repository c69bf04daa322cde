//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"culvert/noise"
	"culvert/tun/tuntest"
)

// Probe is a client with a session that sends echo requests through the daemon to
// its system, which answers. One owner at a time.
type Probe struct {
	c  *Clients
	i  int
	to netip.Addr
}

// NewProbe has client i be the probe; to is an inner address of the daemon's system.
// The client is the probe's from now on, and gets a session.
func (c *Clients) NewProbe(ctx context.Context, i int, to netip.Addr) (*Probe, error) {
	if i < 0 || i >= len(c.all) {
		return nil, fmt.Errorf("there is no client %d", i)
	}
	own := &Clients{hub: c.hub, seed: c.seed, clock: c.clock, all: make([]client, i+1)} // not shared with the storms of others
	own.all[i], c.all[i].keys = c.all[i], nil
	p := &Probe{own, i, to}
	return p, p.Renew(ctx)
}

// Renew begins a new session: one is good for 3 minutes. It must be called in the
// daemon's namespace.
func (p *Probe) Renew(ctx context.Context) error { return p.c.session(ctx, p.i) }

// ProbeResult is how it fared.
type ProbeResult struct {
	Sent, Lost int
	RTT        Percentiles
}

// late is how long an answer may take.
const late = 500 * time.Millisecond

// Run sends so many requests a second until stop is closed, and waits for the last
// answers. It must be called in the daemon's namespace.
func (p *Probe) Run(rate float64, stop <-chan struct{}) (ProbeResult, error) {
	s, err := newSocket()
	if err != nil {
		return ProbeResult{}, err
	}
	defer s.close()
	var (
		in    = newInbox()
		out   = newOutbox(p.c.hub.Addr, 1)
		got   []received
		sent  []time.Time // by sequence number
		rtt   []time.Duration
		pace  = pace{rate: rate}
		start = time.Now()
		end   time.Time // no answer counts later
	)
	for end.IsZero() || len(rtt) < len(sent) && time.Now().Before(end) {
		select {
		case <-stop:
			if end.IsZero() {
				end = time.Now().Add(late)
			}
		default:
		}
		since := time.Since(start)
		if end.IsZero() && pace.due(since, 1) > 0 {
			var payload [8]byte
			binary.BigEndian.PutUint64(payload[:], uint64(len(sent)))
			packet := tuntest.Ping(p.c.Inner(p.i), p.to, 1, uint16(len(sent)), payload[:])
			p.c.seal(p.i, out.add(p.c.Outer(p.i), transportSize(len(packet))), packet)
			sent = append(sent, time.Now())
			if err := out.flush(s); err != nil {
				return ProbeResult{}, err
			}
			pace.done++
			continue
		}
		idle := 20 * time.Millisecond // to see that it is to stop
		if end.IsZero() {
			idle = min(idle, pace.wait(since))
		}
		if err := s.wait(idle); err != nil {
			return ProbeResult{}, err
		}
		if got, err = in.receive(s, got[:0]); err != nil {
			return ProbeResult{}, err
		}
		for _, m := range got {
			if n, ok := p.answer(m.data); ok && n < len(sent) {
				rtt = append(rtt, max(0, m.at.Sub(sent[n])))
			}
		}
	}
	return ProbeResult{len(sent), len(sent) - len(rtt), PercentilesOf(rtt)}, nil
}

// answer is the number of the request that msg answers.
func (p *Probe) answer(msg []byte) (int, bool) {
	const header, icmp, reply = 20, 8, 0
	k := p.c.all[p.i].keys
	if noise.Classify(msg) != noise.TypeTransport || noise.Receiver(msg) != k.LocalIndex {
		return 0, false
	}
	b := msg[noise.TransportHeaderSize:]
	if !k.Recv.Open(b, noise.Counter(msg)) || len(b) < header+icmp+8+noise.TagSize || b[9] != 1 || b[header] != reply {
		return 0, false
	}
	return int(binary.BigEndian.Uint64(b[header+icmp:])), true
}
