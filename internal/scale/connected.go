//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

// connected is what peers cost that have a session and a persistent keepalive, and are
// else quiet.
type connected struct {
	Program    string  `json:"program"`
	Peers      int     `json:"peers"`
	Interval   int     `json:"keepalive_seconds"`
	Seconds    float64 `json:"window_seconds"`
	Keepalives int64   `json:"keepalives"` // that came to the clients in that time
	Percent    float64 `json:"cpu_percent"`
	Micros     float64 `json:"cpu_us_per_keepalive"`
	LookUps    int64   `json:"route_look_ups"` // whether a source address is still right, where the daemon tells
	RSS        int64   `json:"rss_bytes"`
	Memory     []part  `json:"memory,omitempty"`
}

// letIn is how long all clients may take to get their session.
const letIn = time.Minute

// quiet is a daemon with clients that are.
type quiet struct {
	h       *nstest.Host
	clients *load.Clients
}

// measureConnected measures all programs at the same time: they do next to nothing. The
// time is two intervals, so that each client gets two keepalives, and begins after the first one.
func measureConnected(ctx context.Context, o *options) (all []connected, err error) {
	var daemons []*quiet
	defer func() {
		for _, q := range daemons {
			err = errors.Join(err, q.h.Lab().Close())
		}
	}()
	for _, p := range o.programs {
		progress("%s: %d clients get a session", p.Name, o.connected)
		q, err := startQuiet(ctx, p, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		daemons = append(daemons, q)
	}
	interval := time.Duration(o.interval) * time.Second
	progress("all come to rest in %v, and are watched for %v after %[1]v more", interval, 2*interval)
	all, failed := make([]connected, len(daemons)), make([]error, len(daemons))
	var wg sync.WaitGroup
	for i, q := range daemons {
		wg.Go(func() { // ends after the intervals, or with ctx
			all[i], failed[i] = q.measure(ctx, interval)
			all[i].Program, all[i].Peers, all[i].Interval = o.programs[i].Name, o.connected, o.interval
		})
	}
	wg.Wait()
	return all, errors.Join(failed...)
}

// startQuiet gives all clients a session.
func startQuiet(ctx context.Context, p nstest.Program, o *options) (q *quiet, err error) {
	lab, h, err := start(p)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lab.Close()
		}
	}()
	q = &quiet{h: h}
	if q.clients, err = configure(h, o.connected, o.interval); err != nil {
		return nil, err
	}
	return q, h.Do(func() error {
		r, err := q.clients.Storm(ctx, load.StormOptions{Count: o.connected, UnderWay: o.underWay, Begin: letIn, Grace: letIn})
		if err == nil && r.Done < o.connected {
			err = fmt.Errorf("only %d of %d clients have a session after %v", r.Done, o.connected, r.Elapsed)
		}
		return err
	})
}

func (q *quiet) measure(ctx context.Context, interval time.Duration) (c connected, err error) {
	var rest *load.Rest
	if err := q.h.Do(func() (err error) {
		rest, err = q.clients.NewRest(ctx, interval)
		return err
	}); err != nil {
		return c, err
	}
	defer rest.Close()
	if _, err := rest.Count(ctx, interval); err != nil { // the first one to where a client is now costs a look-up of the route
		return c, err
	}
	looked := ask(q.h).Sockets.RouteChecks
	before, err := cpu(q.h.Daemon.PID)
	if err != nil {
		return c, err
	}
	begin := time.Now()
	if c.Keepalives, err = rest.Count(ctx, 2*interval); err != nil {
		return c, err
	}
	c.Seconds = time.Since(begin).Seconds()
	after, err := cpu(q.h.Daemon.PID)
	c.Percent = 100 * (after - before).Seconds() / c.Seconds
	c.Micros = perEvent(after-before, 0, 0, c.Keepalives)
	last := ask(q.h)
	c.RSS, c.Memory, c.LookUps = rss(q.h.Daemon.PID), last.Memory, last.Sockets.RouteChecks-looked
	return c, err
}
