//go:build linux

package load

import (
	"context"
	"fmt"
	"time"

	"culvert/noise"
)

// retransmit is when an unanswered initiation is made anew (paper, section 6.1:
// REKEY_TIMEOUT). Clients have no jitter: it would be another 333 ms at most.
const retransmit = 5 * time.Second

// StormOptions say how clients begin sessions.
type StormOptions struct {
	First, Count int           // which clients
	UnderWay     int           // how many may wait for their response at one time
	Rate         float64       // so many begin a second; 0: as fast as they are answered
	Begin        time.Duration // none begins later
	Grace        time.Duration // those that began may take so much longer
}

// StormResult is what came of it.
type StormResult struct {
	Begun, Done   int
	Failed        int           // began, and had no session at the end
	Retransmitted int           // initiations made anew
	CookieReplies int           // that were good
	Elapsed       time.Duration // until the last response
	Latency       Percentiles   // from a client's first initiation to its response
}

// storm is one under way.
type storm struct {
	*Clients
	o     StormOptions
	s     socket
	out   *outbox
	in    *inbox
	start time.Time
	pace  pace
	due   []waiting // initiations sent, the oldest first
	took  []time.Duration
	r     StormResult
}

// waiting is an initiation that was sent.
type waiting struct {
	client int
	again  time.Time // then it is made anew
}

// Storm has clients begin a session each, and confirm it with a keepalive. Those that
// have one begin another. It must be called in the daemon's namespace (NS.Do). An
// initiation is made anew after 5 s, with a cookie if one came.
func (c *Clients) Storm(ctx context.Context, o StormOptions) (StormResult, error) {
	if o.First < 0 || o.Count < 1 || o.First+o.Count > len(c.all) || o.UnderWay < 1 {
		return StormResult{}, fmt.Errorf("clients %d to %d, %d at a time: there are %d", o.First, o.First+o.Count-1, o.UnderWay, len(c.all))
	}
	s, err := newSocket()
	if err != nil {
		return StormResult{}, err
	}
	defer s.close()
	t := &storm{Clients: c, o: o, s: s, out: newOutbox(c.hub.Addr, 2*burst), in: newInbox(), start: time.Now(), pace: pace{rate: o.Rate}}
	err = t.run(ctx)
	t.r.Failed = t.r.Begun - t.r.Done
	t.r.Latency = PercentilesOf(t.took)
	for i := o.First; i < o.First+t.r.Begun; i++ {
		c.all[i].hello = nil // what failed
	}
	return t.r, err
}

// session has one client begin a session.
func (c *Clients) session(ctx context.Context, i int) error {
	r, err := c.Storm(ctx, StormOptions{First: i, Count: 1, UnderWay: 1, Begin: time.Second, Grace: 2 * retransmit})
	if err == nil && r.Done == 0 {
		err = fmt.Errorf("the daemon gives client %d no session", i)
	}
	return err
}

func (t *storm) run(ctx context.Context) error {
	var got []received
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		since := now.Sub(t.start)
		more := since < t.o.Begin && t.r.Begun < t.o.Count
		if !more && t.r.Begun == t.r.Done || since >= t.o.Begin+t.o.Grace {
			return nil
		}
		if err := t.begin(now, since, more); err != nil {
			return err
		}
		if err := t.again(now); err != nil {
			return err
		}
		if err := t.out.flush(t.s); err != nil {
			return err
		}
		var err error
		if got, err = t.in.receive(t.s, got[:0]); err != nil {
			return err
		}
		for _, m := range got {
			t.take(m)
		}
		if len(got) == 0 {
			if err := t.s.wait(t.idle(now, since, more)); err != nil {
				return err
			}
		}
	}
}

// begin has as many clients begin as may.
func (t *storm) begin(now time.Time, since time.Duration, more bool) error {
	if !more {
		return nil
	}
	for range t.pace.due(since, min(t.o.UnderWay-(t.r.Begun-t.r.Done), t.o.Count-t.r.Begun, burst)) {
		i := t.o.First + t.r.Begun
		if t.all[i].hello == nil {
			if err := t.prepare(i); err != nil {
				return err
			}
		}
		t.all[i].hello.begun = now
		t.send(i, now)
		t.r.Begun++
		t.pace.done++
	}
	return nil
}

// send sends client i's initiation.
func (t *storm) send(i int, now time.Time) {
	copy(t.out.add(t.Outer(i), noise.InitiationSize), t.all[i].hello.msg[:])
	t.due = append(t.due, waiting{i, now.Add(retransmit)})
}

// again makes initiations anew that were not answered.
func (t *storm) again(now time.Time) error {
	for len(t.due) > 0 && !t.out.full() {
		first := t.due[0]
		if t.all[first.client].hello == nil { // it has its session
			t.due = t.due[1:]
			continue
		}
		if now.Before(first.again) {
			return nil
		}
		t.due = t.due[1:]
		if err := t.prepare(first.client); err != nil {
			return err
		}
		t.send(first.client, now)
		t.r.Retransmitted++
	}
	return nil
}

// take takes what the daemon sent; what is not for a handshake is left.
func (t *storm) take(m received) {
	kind := noise.Classify(m.data)
	if kind != noise.TypeResponse && kind != noise.TypeCookieReply {
		return
	}
	i := int(noise.Receiver(m.data))
	if i >= len(t.all) || t.all[i].hello == nil || t.all[i].hello.begun.IsZero() {
		return
	}
	h := t.all[i].hello
	if kind == noise.TypeCookieReply {
		if h.jar.TakeReply(t.clock.Now(), t.hub.Public, m.data) == nil {
			t.r.CookieReplies++
		}
		return
	}
	if !t.respond(i, m.data) {
		return
	}
	t.r.Done++
	t.r.Elapsed = m.at.Sub(t.start)
	t.took = append(t.took, max(0, m.at.Sub(h.begun)))
	t.seal(i, t.out.add(t.Outer(i), noise.KeepaliveSize), nil)
	if t.out.n >= burst/4 { // a daemon that waits for clients is not measured
		_ = t.out.flush(t.s) // what fails now fails again
	}
}

// idle is how long nothing has to be done unless something comes.
func (t *storm) idle(now time.Time, since time.Duration, more bool) time.Duration {
	end := t.o.Begin
	if !more {
		end += t.o.Grace
	}
	d := min(end-since, 100*time.Millisecond) // to see that ctx has ended
	if more && t.r.Begun-t.r.Done < t.o.UnderWay {
		d = min(d, t.pace.wait(since))
	}
	if len(t.due) > 0 {
		d = min(d, t.due[0].again.Sub(now))
	}
	return d
}
