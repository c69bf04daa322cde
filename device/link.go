package device

import (
	"slices"
	"sync"
	"sync/atomic"

	"culvert/conn"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/internal/scrub"
)

// receivers are the inbound readers of one pair of sockets.
type receivers struct {
	running sync.WaitGroup
	failed  atomic.Pointer[error] // why one of them ended, though nobody closed its socket
}

// linkUp opens the sockets and lets what is staged and the persistent
// keepalives go.
func (c *controller) linkUp() {
	if c.up {
		return
	}
	c.up, c.reopening = true, reopening{}
	c.reopening.tried(c.now)
	switch err := c.open(uint16(c.d.port.Load()), c.mark); err {
	case nil:
		c.d.log.Debug("interface up", "port", c.d.port.Load())
	case errClosed:
	default:
		c.openFailed(err)
	}
}

// linkDown closes the sockets and clears every session. The port number is kept.
func (c *controller) linkDown() {
	if !c.up {
		return
	}
	c.up, c.reopening = false, reopening{}
	c.d.state.missing.Store(nil)
	c.closeSockets(c.swap(nil)) // first: who is just staging a packet finds that there are none (outbound.stage)
	for p := range c.peers.all {
		c.clear(p)
	}
	c.d.log.Debug("interface down")
}

// clear ends all sessions of a peer and drops what is staged.
func (c *controller) clear(p *peer) {
	var out session.Actions
	p.epoch++
	p.machine.Clear(&out)
	c.perform(p, &out, nil)
	c.d.dropStaged(p, c.now, DropNoSession)
	p.activity.unansweredSince.Store(0)
	p.activity.unackedSince.Store(0)
	p.activity.moreUnacked.Store(false)
}

// open makes sockets and puts them in the place of those there were, which are
// closed only then: a failure leaves them working.
func (c *controller) open(port uint16, mark uint32) error {
	s, err := c.d.network.Listen(port, mark)
	if err != nil {
		return err
	}
	first := c.d.sockets.Load() == nil
	c.d.state.forget()
	c.replace(s)
	c.reopening.at = clock.Never
	c.d.state.missing.Store(nil)
	select {
	case <-c.d.closing: // Close may have come too early to see s
		s.Close()
		return errClosed
	default:
	}
	if first {
		for p := range c.peers.all {
			c.wake(p)
		}
	}
	return nil
}

// wake lets a peer's staged packets and persistent keepalive go.
func (c *controller) wake(p *peer) {
	var out session.Actions
	p.machine.Up(c.now, p.stage.waiting(), &out)
	c.perform(p, &out, nil)
}

// replace puts s in the place of the current sockets and closes those.
func (c *controller) replace(s conn.Sockets) {
	c.closeSockets(c.swap(s))
	for p := range c.peers.all {
		p.forgetSource(p.endpoint.Load())
	}
}

// swap publishes s (nil: none), starts its readers and gives back what was there.
func (c *controller) swap(s conn.Sockets) (conn.Sockets, *receivers) {
	var old conn.Sockets
	if p := c.d.sockets.Load(); p != nil {
		old = *p
	}
	readers := c.receive
	c.labels, c.flooded = nil, false
	c.d.flood.stop(s != nil && slices.ContainsFunc(s.Receivers(), func(r conn.Receiver) bool { return laneOf(r) == conn.LaneRest }))
	if s == nil {
		c.d.sockets.Store(nil)
		c.receive = nil
		return old, readers
	}
	c.d.port.Store(uint32(s.Port()))
	c.d.sockets.Store(&s)
	close(*c.d.raised.Swap(new(make(chan struct{}))))
	c.receive = new(receivers)
	for i, r := range s.Receivers() {
		lane := laneOf(r)
		in := &inbound{d: c.d, shard: i, receiver: r, lane: lane, of: c.receive, load: c.d.newLoad(), rhythm: c.d.newModeration(), allowance: c.d.newAllowance(lane)}
		in.load.aside = lane != conn.LaneMain
		c.receive.running.Go(func() { scrub.Run(in.run) })
	}
	return old, readers
}

// closeSockets closes old sockets and waits for their readers. Readers never
// wait for the controller, so this ends.
func (c *controller) closeSockets(old conn.Sockets, readers *receivers) {
	if old == nil {
		return
	}
	if err := old.Close(); err != nil {
		c.d.log.Debug("closing sockets", "error", err)
	}
	readers.running.Wait()
}
