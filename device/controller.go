package device

import (
	"errors"
	"time"

	"culvert/conn"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/internal/scrub"
	"culvert/noise"
	"culvert/timers"
)

// eventQueue bounds what waits for the controller. The pipes never wait for
// room; they ask again with their next packet. Handshake workers do wait.
const eventQueue = 1024

// eventKind says what an event is.
type eventKind uint8

const (
	evNeedKeys    eventKind = iota // why
	evConfirmed                    // index
	evInitiation                   // opened, from, id
	evResponse                     // keys, from, index
	evCookieReply                  // cookie
	evInitiated                    // epoch, pending, msg, index; no pending: failed
	evResponded                    // epoch, keys, msg, index; no keys: failed
)

// An event is something that happened to one peer.
type event struct {
	kind    eventKind
	why     session.Reason
	peer    *peer
	index   uint32
	epoch   uint32
	from    *conn.Endpoint
	opened  *noise.OpenedInitiation
	id      *identity // compared, not used
	keys    *noise.Keypair
	pending *pending
	msg     []byte
	cookie  *[noise.CookieReplySize]byte
}

// controller owns every session, the wheel, and all writes of the snapshots
// the pipes read. All its state is touched by its one goroutine only: run.
type controller struct {
	d        *Device
	now      clock.Time // of the event in hand
	wheel    *timers.Wheel[peer]
	fired    int  // peers whose deadline came, in this turn
	together int  // dueTogether, but in tests
	up       bool // the link is up
	peers    peerList
	mark     uint32
	// lastStamp is the label of the last initiation to anybody, also of an
	// earlier run: a peer that is added again gets none before it.
	lastStamp noise.Timestamp

	pools      sweeper
	starts     starts
	keepalives keepalives
	reopening  reopening
	receive    *receivers   // of the sockets; nil: there are none
	labels     []conn.Label // that they prefer
	flooded    bool         // a flood was told of, and not yet its end
	secret     bool         // a key was used in this turn, and is on the stack
}

// run is the controller's goroutine. It ends when Close has ended all others.
func (c *controller) run() {
	defer close(c.d.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case ev := <-c.d.events:
			c.now = c.d.clock.Now()
			c.handle(&ev)
		case f := <-c.d.commands:
			c.now = c.d.clock.Now()
			f()
		case <-timer.C:
			c.now = c.d.clock.Now()
			c.wheel.Expire(c.now, c.fire)
			c.reopen()
			c.pools.sweep(c.d, c.now)
		case <-c.d.sweeps:
			c.now = c.d.clock.Now()
			c.pools.want(c.now)
		case <-c.d.state.wanted:
			c.now = c.d.clock.Now()
			c.lookAtSockets()
		case <-c.d.flood.wanted:
			c.now = c.d.clock.Now()
			c.prefer()
		case <-c.d.stop:
			return
		}
		c.flushKeepalives()
		if c.secret {
			c.secret = false
			scrub.Deep()
		}
		c.fired, c.d.session.Crowded = 0, false
		c.feed()
		next, _ := c.wheel.Next()
		if at := next.Min(c.pools.at).Min(c.starts.at).Min(c.reopening.at); at != clock.Never {
			timer.Reset(max(0, at.Sub(c.now)))
		} else {
			timer.Stop()
		}
	}
}

// post gives an event of the pipes to the controller; false if it has too many.
func (d *Device) post(ev event) bool {
	select {
	case d.events <- ev:
		return true
	default:
		return false
	}
}

// deliverEvent gives a handshake worker's event to the controller and waits for
// room; the controller never waits for a worker.
func (d *Device) deliverEvent(ev event) {
	select {
	case d.events <- ev:
	case <-d.closing:
		d.void(&ev)
	}
}

// void wipes the secrets of an event that came too late.
func (d *Device) void(ev *event) {
	if ev.opened != nil {
		ev.opened.Wipe()
	}
	if ev.keys != nil {
		ev.keys.Wipe()
	}
	if ev.pending != nil {
		ev.pending.release()
	}
	if ev.msg != nil { // built here, so its index is ours to give back
		d.index.release(ev.index)
	}
}

// needKeys asks for a handshake with p, once until the controller has looked.
// False: it was not asked, for another request is on its way or there are too
// many.
func (d *Device) needKeys(p *peer, why session.Reason) bool {
	if p.asked.Load() || !p.asked.CompareAndSwap(false, true) {
		return false
	}
	if !d.post(event{kind: evNeedKeys, peer: p, why: why}) {
		p.asked.Store(false)
		return false
	}
	return true
}

// do runs f on the controller's goroutine and waits for it; false if the device
// is closed.
func (d *Device) do(f func()) bool {
	done := make(chan struct{})
	select {
	case d.commands <- func() { f(); close(done) }:
		<-done
		return true
	case <-d.ended:
		return false
	}
}

// handle takes one event through the peer's session machine.
func (c *controller) handle(ev *event) {
	p := ev.peer
	if ev.kind == evNeedKeys {
		p.asked.Store(false)
	}
	if p.removed.Load() || !c.up {
		c.d.void(ev)
		return
	}
	var out session.Actions
	switch ev.kind {
	case evNeedKeys:
		c.republish(p)
		if p.waits == waitsCalmly { // until now nobody waited
			c.hurry(p)
		}
		p.machine.NeedKeys(c.now, ev.why, &out)
	case evConfirmed:
		c.republish(p)
		p.machine.Confirmed(c.now, ev.index, &out)
	case evInitiation:
		c.initiation(ev, &out)
	case evResponse:
		c.response(ev, &out)
	case evCookieReply:
		if p.jar.TakeReply(c.now, p.public, ev.cookie[:]) != nil {
			c.d.dropped(c.now, DropBadCookie, 1, p)
		}
		return
	case evInitiated:
		c.initiated(ev, &out)
	case evResponded:
		c.responded(ev, &out)
	}
	c.perform(p, &out, ev)
}

// initiation accepts or refuses an authenticated initiation.
func (c *controller) initiation(ev *event, out *session.Actions) {
	p := ev.peer
	if ev.id != c.d.identity.Load() { // made for a key we no longer have
		c.d.dropped(c.now, DropStale, 1, p)
		c.d.void(ev)
		return
	}
	err := p.machine.Initiation(c.now, ev.opened, out)
	if err == nil {
		p.endpoint.Store(ev.from)
		p.rx.Add(noise.InitiationSize)
		p.activity.received(c.now, 0)
		return
	}
	c.d.void(ev)
	if errors.Is(err, session.ErrTooSoon) {
		c.d.dropped(c.now, DropTooSoon, 1, p)
		return
	}
	c.d.dropped(c.now, DropOldTimestamp, 1, p)
	c.d.oldTimestamp(p)
}

// response takes the keys of an authenticated response.
func (c *controller) response(ev *event, out *session.Actions) {
	p := ev.peer
	if err := p.machine.Response(c.now, ev.index, ev.keys, out); err != nil {
		ev.keys.Wipe()
		c.d.dropped(c.now, DropStale, 1, p)
		return
	}
	p.endpoint.Store(ev.from)
	p.rx.Add(noise.ResponseSize)
	p.activity.received(c.now, 0)
}

// initiated takes an initiation that a worker has built.
func (c *controller) initiated(ev *event, out *session.Actions) {
	p := ev.peer
	switch {
	case ev.epoch != p.epoch:
		c.d.void(ev)
	case ev.pending == nil:
		p.machine.InitiationFailed(c.now, out)
	default:
		p.machine.Initiated(c.now, ev.index, out)
		if !out.SendHandshake { // no longer wanted
			c.d.void(ev)
			return
		}
		c.d.index.setPending(ev.index, ev.pending)
	}
}

// responded takes a response that a worker has built.
func (c *controller) responded(ev *event, out *session.Actions) {
	p := ev.peer
	switch {
	case ev.epoch != p.epoch:
		c.d.void(ev)
	case ev.keys != nil:
		p.machine.Responded(c.now, ev.keys, out)
		if out.Install == nil { // a later initiation was accepted meanwhile
			c.d.void(ev)
		}
	}
}

// Of some thousand peers each tick of the wheel would have a few that are due, and waking
// up for it would be most of what they cost. So they are due together, once in a slot, where that makes no
// difference to anybody, unless a slot has dueTogether already: what is beyond comes when it would
// have, so peers that were all begun at the same time part.
const (
	// dueSlot fits into the jitter of a persistent keepalive of 18 s or more.
	dueSlot = time.Duration(8 * timers.Tick)
	// dueTogether is a third more than 10,000 connected peers with an interval of 25 s have in a slot: 214 keepalives, and
	// 537 looks at what they did.
	dueTogether = 1024
)

// fire is what the wheel calls for a peer whose deadline has come.
func (c *controller) fire(p *peer) {
	c.fired++
	c.d.session.Crowded = c.fired > c.together
	var out session.Actions
	p.machine.Advance(c.now, p.activity.snapshot(), &out)
	c.perform(p, &out, nil)
}

// settle puts the peer's one deadline into the wheel.
func (c *controller) settle(p *peer) {
	if at, ok := p.machine.Deadline(); ok && c.up && !p.removed.Load() {
		c.wheel.Arm(&p.timer, at)
	} else {
		c.wheel.Disarm(&p.timer)
	}
}
