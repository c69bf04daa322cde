package device

import (
	"errors"
	"sync/atomic"
	"time"

	"culvert/conn"
	"culvert/internal/clock"
)

// Sockets that could not be opened, and those that broke, are opened anew, for as
// long as the interface is up: at once if nothing was tried for reopenCalm, else
// reopenFirst after the last try, then twice as long each time up to reopenLast. So
// is an address family that was missing, when somebody wants to send over it and the
// system has it by now: that takes the other one away for a moment, since both
// have one port. Sessions stay.
const (
	reopenFirst = time.Second
	reopenLast  = 30 * time.Second
	reopenCalm  = time.Minute
)

// errNoReceiveMemory ends a reader that the system has no memory for.
var errNoReceiveMemory = errors.New("the system has no memory to receive anything")

// reopening says when sockets are opened anew. It belongs to the controller.
type reopening struct {
	at   clock.Time    // of the next try; Never: none is wanted
	last clock.Time    // of the last one
	wait time.Duration // how long after it the next one may be
}

// tried notes that sockets are opened now, whatever comes of it.
func (r *reopening) tried(now clock.Time) {
	r.at, r.last = clock.Never, now
	r.wait = max(reopenFirst, min(2*r.wait, reopenLast))
}

// want sets the next try, unless there is one.
func (r *reopening) want(now clock.Time) {
	if !r.at.IsZero() {
		return
	}
	if r.last.IsZero() || now.Sub(r.last) >= reopenCalm {
		r.wait = 0
	}
	if r.at = r.last.Add(r.wait); r.at.Before(now) {
		r.at = now
	}
}

// socketState is what others than the controller tell and are told of the
// sockets. Safe for concurrent use.
type socketState struct {
	wanted chan struct{}         // capacity 1: the controller is to look
	asked  atomic.Bool           // senders have asked it to, until it has tried or opened others
	broken atomic.Pointer[error] // what a sender found

	missing            atomic.Pointer[error] // why there are no sockets though the interface is up; nil: there are
	failures, reopened atomic.Uint64
}

func (s *socketState) init() { s.wanted = make(chan struct{}, 1) }

func (s *socketState) signal() {
	select {
	case s.wanted <- struct{}{}:
	default: // it has not looked yet
	}
}

// forget is when other sockets are opened: what was found of those before is not theirs, and who wants
// something of these may ask.
func (s *socketState) forget() {
	s.broken.Store(nil)
	s.asked.Store(false)
}

// sendRefused has the controller look at the sockets if err is theirs and not a
// datagram's.
func (s *socketState) sendRefused(err error) {
	broken := conn.Broken(err)
	if !broken && !errors.Is(err, conn.ErrNoFamily) || s.asked.Load() || !s.asked.CompareAndSwap(false, true) {
		return
	}
	if broken {
		s.broken.Store(&err)
	}
	s.signal()
}

// lookAtSockets follows a signal: what is broken is closed, and a try set.
func (c *controller) lookAtSockets() {
	if !c.live() {
		return // a try is set, or none is wanted
	}
	failed := c.receive.failed.Load()
	if failed == nil {
		failed = c.d.state.broken.Load()
	}
	c.d.state.broken.Store(nil)
	if failed != nil {
		c.d.log.Error("sockets failed and are opened anew", "port", c.d.port.Load(), "error", *failed)
		c.closeSockets(c.swap(nil))
		c.noSockets(*failed)
	}
	c.reopening.want(c.now)
	c.reopen()
}

// noSockets notes why there are none though the interface is up.
func (c *controller) noSockets(why error) {
	c.d.state.failures.Add(1)
	c.d.state.missing.Store(&why)
}

// reopen opens sockets if it is time to.
func (c *controller) reopen() {
	r := &c.reopening
	if r.at.IsZero() || r.at.After(c.now) || !c.up {
		return
	}
	r.tried(c.now)
	c.d.state.asked.Store(false)
	if s := c.d.sockets.Load(); s != nil {
		if p, ok := (*s).(conn.Partial); !ok || !p.Lacks() {
			return
		}
		c.d.log.Info("an address family has come; sockets are opened anew", "port", c.d.port.Load())
		c.closeSockets(c.swap(nil))
	}
	switch err := c.open(uint16(c.d.port.Load()), c.mark); err {
	case nil:
		c.d.state.reopened.Add(1)
		c.d.log.Info("sockets are open again", "port", c.d.port.Load())
	case errClosed:
	default:
		c.openFailed(err)
	}
}

// openFailed sets the next try.
func (c *controller) openFailed(err error) {
	c.noSockets(err)
	c.reopening.want(c.now)
	c.d.log.Error("the interface is up but has no sockets; free the port or set another listen-port; it is tried again",
		"port", c.d.port.Load(), "in", c.reopening.at.Sub(c.now), "error", err)
}
