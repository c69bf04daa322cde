//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

// Two daemons of a program have a tunnel between them, and the one that a TCP stream goes
// to, through the same socket, is flooded. The generator, both daemons and iperf3 share the
// processors, so the stream is compared with one beside the same flood to another port of
// the flooded daemon's namespace, where the kernel drops it: the difference is what the
// daemon does.

const (
	farIP    = "100.127.255.254" // inside the tunnel; no client has it
	outerNet = "10.99.0."        // and 1 or 2
)

// flooded is how the stream fared.
type flooded struct {
	Program     string            `json:"program"`
	Flood       load.Kind         `json:"flood"`
	Aside       float64           `json:"gbps_flood_elsewhere"` // the median of the rounds
	At          float64           `json:"gbps_flooded"`         // likewise
	Ratio       float64           `json:"ratio"`                // likewise, of each round's
	Ratios      []float64         `json:"ratios"`
	PerS        float64           `json:"sent_per_s"` // to the daemon
	Sent        int64             `json:"sent"`       // in all rounds
	Drops       map[string]uint64 `json:"drops,omitempty"`
	SocketDrops int64             `json:"socket_drops"`
}

// tunnel is the two daemons.
type tunnel struct {
	near, far *nstest.Host // near is flooded
	clients   *load.Clients
	stop      func() // closes the sink
}

func newTunnel(p nstest.Program) (t *tunnel, err error) {
	lab, near, err := start(p)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lab.Close()
		}
	}()
	far, err := lab.NewHost("far")
	if err != nil {
		return nil, err
	}
	t = &tunnel{near: near, far: far}
	if err := nstest.Join(near.NS, "eth0", far.NS, "eth0", 1500); err != nil {
		return nil, err
	}
	if err := errors.Join(near.IP("addr add "+outerNet+"1/24 dev eth0"), far.IP("addr add "+outerNet+"2/24 dev eth0"), bringUp(far, p, farIP+"/10")); err != nil {
		return nil, err
	}
	if t.clients, err = configure(near, 1, 0, peerAt(far, farIP, outerNet+"2")); err != nil {
		return nil, err
	}
	if _, err = configure(far, 0, 0, peerAt(near, nearIP.String(), outerNet+"1")); err != nil {
		return nil, err
	}
	return t, near.Do(func() (err error) {
		t.stop, err = sink()
		return err
	})
}

// peerAt is a host as the other one's peer.
func peerAt(h *nstest.Host, inner, outer string) peer {
	return peer{key: publicKey(h), inner: netip.MustParseAddr(inner), endpoint: netip.AddrPortFrom(netip.MustParseAddr(outer), port)}
}

func (t *tunnel) close() error {
	t.stop()
	return t.near.Lab().Close()
}

// measureFloods measures all programs, by turns.
func measureFloods(ctx context.Context, o *options) (all []flooded, err error) {
	var tunnels []*tunnel
	defer func() {
		for _, t := range tunnels {
			err = errors.Join(err, t.close())
		}
	}()
	for _, p := range o.programs {
		t, err := newTunnel(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		tunnels = append(tunnels, t)
	}
	for _, kind := range o.floods {
		for i, t := range tunnels {
			name := o.programs[i].Name
			progress("%s: TCP beside a flood: %s", name, kind)
			f, failed := t.measure(ctx, kind, o)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("%s, TCP beside %s: %w", name, kind, failed))
				continue
			}
			f.Program = name
			all = append(all, f)
		}
	}
	return all, err
}

// measure floods by turns somewhere else and the daemon.
func (t *tunnel) measure(ctx context.Context, kind load.Kind, o *options) (r flooded, err error) {
	var f *load.Flood
	if err := t.near.Do(func() (err error) {
		f, err = t.clients.NewFlood(ctx, kind)
		return err
	}); err != nil {
		return r, err
	}
	defer f.Close()
	before, err := queuesOf(t.near.NS, port)
	if err != nil {
		return r, err
	}
	dropped := drops(t.near)
	var aside, at, rates []float64
	for range o.rounds {
		other, _, err := t.stream(ctx, f, sinkPort, o)
		if err != nil {
			return r, err
		}
		this, sent, err := t.stream(ctx, f, port, o)
		if err != nil {
			return r, err
		}
		aside, at, rates = append(aside, other), append(at, this), append(rates, float64(sent.Datagrams)/sent.Elapsed.Seconds())
		r.Ratios = append(r.Ratios, this/other)
		r.Sent += sent.Datagrams
	}
	if err := drained(t.near); err != nil {
		return r, err
	}
	after, err := queuesOf(t.near.NS, port)
	r.Flood, r.Aside, r.At, r.PerS, r.Ratio = kind, median(aside), median(at), median(rates), median(r.Ratios)
	r.Drops, r.SocketDrops = since(drops(t.near), dropped), after.dropped-before.dropped
	return r, err
}

// stream measures the stream, in Gbit/s, while a port of the near namespace is
// flooded, and says with what.
func (t *tunnel) stream(ctx context.Context, f *load.Flood, to uint16, o *options) (gbps float64, sent load.Sent, err error) {
	f.Aim(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { // ends soon after stop
		done <- t.near.Do(func() (err error) {
			sent, err = f.Run(ctx, o.rate, time.Hour)
			return err
		})
	}()
	x, err := nstest.RunIperf(time.Minute, t.far.NS, t.near.NS, nearIP.String(), "-t", fmt.Sprint(o.streamSeconds))
	stop()
	if failed := <-done; !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return x.Gbps(), sent, err
}

// ratio is what a program's stream had left beside a flood; 0 if it was not measured.
func (r *results) ratio(program string, flood load.Kind) float64 {
	for i := range r.Floods {
		if f := &r.Floods[i]; f.Program == program && f.Flood == flood {
			return f.Ratio
		}
	}
	return 0
}

// floodNames are the kinds of floods that there are.
func floodNames() (names []string) {
	for _, k := range load.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// isFlood reports whether there is one of that name.
func isFlood(name string) bool { return slices.Contains(load.Kinds(), load.Kind(name)) }
