package device

import (
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// starts is the peers whose initiation is wanted and not yet given to a worker. One
// peer, or a hundred, never wait here. A hundred thousand that want one in the same
// moment (a configuration with persistent keepalives, the interface coming up) do:
// no worker is that fast, and what did not fit into the queue of jobs would be
// tried again by all of them together 5 s later, when as little fits.
//
// Two queues. What packets wait for, and what renews a session, goes first and as
// fast as workers take it. What nobody waits for goes calmly: perTick of them in a
// tick of the wheel, and only while workers have few jobs, so that the answers of one
// tick are dealt with in the next, and a packet's initiation is never behind
// thousands. That first keepalive's time is what the persistent keepalives after it
// count from, so they are spread as well.
//
// A peer is in a queue at most once (peer.waits); an entry that says otherwise is
// void. Each peer's place is a word, for as long as it waits.
type starts struct {
	urgent, calm peerQueue
	left         int        // of perTick, until
	until        clock.Time // when the next tick begins
	at           clock.Time // when to feed at the latest; Never: an event will come before
}

const (
	// startsPerTick is, for each handshake worker, 3,800 a second: as many
	// handshakes as one core does in whole. In one tick it is less than what makes the
	// queue of incoming handshakes ask for cookies.
	startsPerTick = 256
	// calmJobs is how many jobs keep workers busy until the controller hears of one
	// that is done.
	calmJobs = 64
)

// waits says in which queue a peer is.
type waits uint8

const (
	waitsNot waits = iota
	waitsCalmly
	waitsUrgently
)

// peerQueue is peers, first in, first out. The zero value is ready.
type peerQueue struct {
	items []*peer
	head  int
}

func (q *peerQueue) len() int { return len(q.items) - q.head }

// push appends p. When half of the places are free again they are used before the queue grows: with
// peers enough that do not answer it never runs dry.
func (q *peerQueue) push(p *peer) {
	if 2*q.head >= len(q.items) && q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, p)
}

// pop takes the first; there is one. An empty queue keeps no memory.
func (q *peerQueue) pop() *peer {
	p := q.items[q.head]
	q.items[q.head] = nil
	if q.head++; q.head == len(q.items) {
		*q = peerQueue{}
	}
	return p
}

// wantStart has an initiation to p built, soon.
func (c *controller) wantStart(p *peer, why session.Reason) {
	if c.urgent(p, why) {
		c.hurry(p)
	} else if p.waits == waitsNot {
		p.waits = waitsCalmly
		c.starts.calm.push(p)
	}
}

// hurry makes p wait in the urgent queue.
func (c *controller) hurry(p *peer) {
	if p.waits != waitsUrgently {
		p.waits = waitsUrgently
		c.starts.urgent.push(p)
	}
}

// urgent reports whether packets wait, or a session is at stake.
func (c *controller) urgent(p *peer, why session.Reason) bool {
	switch why {
	case session.DataWaits, session.RekeySending, session.RekeyReceiving, session.RekeyMessages, session.NoReply:
		return true
	}
	return p.stage.waiting()
}

// feed gives workers what waits, as far as there is room. It is called at the end of
// each turn of run, and every job that is done brings an event and so a turn.
func (c *controller) feed() {
	s := &c.starts
	s.at = clock.Never
	c.feedFrom(&s.urgent, waitsUrgently, cap(c.d.jobs), cap(c.d.jobs))
	if s.calm.len() == 0 {
		return
	}
	if c.now >= s.until {
		s.until, s.left = c.now+timers.Tick, startsPerTick*c.d.handshakeWorkers
	}
	s.left -= c.feedFrom(&s.calm, waitsCalmly, min(calmJobs, cap(c.d.jobs)), s.left)
	if s.calm.len() > 0 && s.left == 0 {
		s.at = s.until
	}
}

// feedFrom starts at most most peers of q, and no more than make full jobs.
func (c *controller) feedFrom(q *peerQueue, kind waits, full, most int) (started int) {
	for started < most && q.len() > 0 && len(c.d.jobs) < full {
		p := q.pop()
		if p.waits != kind {
			continue // it went to the other queue
		}
		p.waits = waitsNot
		if !p.machine.Initiating() {
			continue // no longer wanted: the other side was faster, or p was cleared
		}
		c.start(p)
		started++
	}
	return started
}

// start gives a worker an initiation to build; there is room, and nobody else fills
// it. The label is of now: that of one that waited might be older than one that is
// out already.
func (c *controller) start(p *peer) {
	stamp := p.machine.Stamp(noise.NewTimestamp(c.d.clock.Wall()))
	if stamp.After(c.lastStamp) {
		c.lastStamp = stamp
	}
	if c.d.stamps != nil {
		c.d.stamps.used(stamp)
	}
	c.d.jobs <- hsJob{peer: p, epoch: p.epoch, stamp: stamp}
}
