//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

// event is what a test measured.
type event struct {
	Program     string            `json:"program"`
	Test        string            `json:"test"`
	Clients     int               `json:"clients"`
	Offered     int64             `json:"offered"` // datagrams sent, or handshakes begun
	Events      int64             `json:"events"`  // that reached the daemon, or handshakes done
	PerS        float64           `json:"events_per_s"`
	Micros      float64           `json:"cpu_us_per_event"`
	RSS         int64             `json:"rss_bytes"`
	Handshake   *handshake        `json:"handshake,omitempty"`
	ProbeSent   int               `json:"probe_sent"`
	ProbeLost   int               `json:"probe_lost"`
	ProbeP50    float64           `json:"probe_rtt_p50_us"`
	ProbeP99    float64           `json:"probe_rtt_p99_us"`
	ProbeMax    float64           `json:"probe_rtt_max_us"`
	Drops       map[string]uint64 `json:"drops,omitempty"` // by reason, where the daemon tells
	SocketDrops int64             `json:"socket_drops"`
	Sessions    int               `json:"sessions"`         // of the clients, at the end
	Memory      []part            `json:"memory,omitempty"` // at the end of a storm, where the daemon tells
}

// handshake is what a storm has besides.
type handshake struct {
	Failed        int     `json:"failed"`
	Retransmitted int     `json:"retransmitted"`
	CookieReplies int     `json:"cookie_replies"`
	P50           float64 `json:"latency_p50_us"`
	P90           float64 `json:"latency_p90_us"`
	P99           float64 `json:"latency_p99_us"`
	Max           float64 `json:"latency_max_us"`
}

// probeRate is how often the established session asks for an echo.
const probeRate = 200

// bench is a daemon with its clients.
type bench struct {
	h        *nstest.Host
	clients  *load.Clients
	probe    *load.Probe
	length   time.Duration
	underWay int
	idle     float64 // processors that the daemon uses for the probe alone
	stop     func()  // closes the sink
}

// measureEvents runs the tests with all programs, by turns, so that what else the
// machine does hits all alike. All daemons are there all the time.
func measureEvents(ctx context.Context, o *options) (all []event, err error) {
	var benches []*bench
	defer func() {
		for _, b := range benches {
			err = errors.Join(err, b.close())
		}
	}()
	for _, p := range o.programs {
		progress("%s: making %d clients", p.Name, o.clients)
		b, err := startBench(ctx, p, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		benches = append(benches, b)
	}
	for _, t := range o.tests {
		rate := t.rate
		if o.rate > 0 {
			rate = o.rate
		}
		for i, b := range benches {
			name := o.programs[i].Name
			progress("%s: %s", name, t.name)
			e, failed := b.measure(ctx, t, rate)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("%s, %s: %w", name, t.name, failed))
				continue
			}
			e.Program, e.Test, e.Clients = name, t.name, o.clients
			all = append(all, e)
		}
	}
	return all, err
}

// startBench starts a program with its clients.
func startBench(ctx context.Context, p nstest.Program, o *options) (*bench, error) {
	lab, h, err := start(p)
	if err != nil {
		return nil, err
	}
	b, err := newBench(ctx, h, o)
	if err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return b, nil
}

// close ends the daemon.
func (b *bench) close() error {
	b.stop()
	return b.h.Lab().Close()
}

// newBench configures the daemon with all clients, and the probe as the last of them.
func newBench(ctx context.Context, h *nstest.Host, o *options) (b *bench, err error) {
	b = &bench{h: h, length: o.length, underWay: o.underWay}
	if b.clients, err = configure(h, o.clients+1, 0); err != nil {
		return nil, err
	}
	err = h.Do(func() (err error) {
		if b.stop, err = sink(); err != nil {
			return err
		}
		b.probe, err = b.clients.NewProbe(ctx, o.clients, nearIP)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, b.rest()
}

// rest measures what the probe alone costs.
func (b *bench) rest() error {
	time.Sleep(settle)
	before, err := cpu(b.h.Daemon.PID)
	if err != nil {
		return err
	}
	begin := time.Now()
	stop := b.run()
	time.Sleep(min(b.length, time.Second))
	after, err := cpu(b.h.Daemon.PID)
	b.idle = (after - before).Seconds() / time.Since(begin).Seconds()
	_, failed := stop()
	return errors.Join(err, failed)
}

// run runs the probe; stop ends it.
func (b *bench) run() (stop func() (load.ProbeResult, error)) {
	ended := make(chan struct{})
	done := make(chan struct{})
	var r load.ProbeResult
	var err error
	go func() { // ends soon after ended is closed
		err = b.h.Do(func() (err error) {
			r, err = b.probe.Run(probeRate, ended)
			return err
		})
		close(done)
	}()
	return func() (load.ProbeResult, error) {
		close(ended)
		<-done
		return r, err
	}
}

// measure runs a test.
func (b *bench) measure(ctx context.Context, t test, rate float64) (e event, err error) {
	dropped, pid := drops(b.h), b.h.Daemon.PID
	before, err := queuesOf(b.h.NS, port)
	if err != nil {
		return e, err
	}
	if err := b.prepare(t); err != nil {
		return e, err
	}
	if err := b.h.Do(func() error { return b.probe.Renew(ctx) }); err != nil {
		return e, err
	}
	used, err := cpu(pid)
	if err != nil {
		return e, err
	}
	begin := time.Now()
	stop := b.run()
	var out outcome
	failed := b.h.Do(func() (err error) {
		out, err = t.run(ctx, b, rate)
		return err
	})
	err = drained(b.h)
	used2, failed2 := cpu(pid)
	took := time.Since(begin)
	probe, failed3 := stop()
	after, failed4 := queuesOf(b.h.NS, port)
	if err := errors.Join(failed, err, failed2, failed3, failed4); err != nil {
		return e, err
	}
	e = event{
		Offered: out.offered, Events: out.events, SocketDrops: after.dropped - before.dropped, RSS: rss(pid),
		ProbeSent: probe.Sent, ProbeLost: probe.Lost,
		ProbeP50: micros(probe.RTT.P50), ProbeP99: micros(probe.RTT.P99), ProbeMax: micros(probe.RTT.Max),
		Drops: since(drops(b.h), dropped),
	}
	e.Sessions = b.clients.Sessions()
	if s := out.storm; s != nil {
		e.Memory = ask(b.h).Memory
		e.Handshake = &handshake{s.Failed, s.Retransmitted, s.CookieReplies,
			micros(s.Latency.P50), micros(s.Latency.P90), micros(s.Latency.P99), micros(s.Latency.Max)}
	} else {
		e.Events = max(0, out.offered-e.SocketDrops)
	}
	e.PerS = float64(e.Events) / out.elapsed.Seconds()
	e.Micros = perEvent(used2-used, b.idle, took, e.Events)
	return e, nil
}

// prepare does what the clients of a storm have to compute before it.
func (b *bench) prepare(t test) error {
	if !t.storm {
		return nil
	}
	return b.clients.Prepare(0, b.clients.Len()-1)
}

// drained waits until the daemon has received everything.
func drained(h *nstest.Host) error {
	var err error
	if !nstest.Eventually(10*time.Second, func() bool {
		var q queues
		q, err = queuesOf(h.NS, port)
		return err != nil || q.waiting == 0
	}) {
		return errors.New("the daemon does not empty its socket")
	}
	return err
}
