package device

import (
	"context"
	"log/slog"

	"culvert/conn"
	"culvert/device/session"
	"culvert/noise"
)

// keepaliveBatch is how many keepalives go to the network at once: as many messages
// as one system call of package conn takes.
const keepaliveBatch = 64

// keepalives is those of different peers that the controller has sealed and not yet
// sent: a million peers with an interval of 25 s are due 40,000 times a second, and
// a system call for each would be most of what they cost. They are sent when there
// are keepaliveBatch of them, and at the end of each turn of controller.run, so
// within the same tick.
//
// The controller is the sender (sequence) of every peer in here. So what readers
// push for one of them meanwhile goes after its keepalive, and is left to a
// goroutine as in sendOne; a reader that waits for its turn (enterWaiting) waits for
// the controller, which waits for no reader, only for the network.
//
// An outBatch has room for 64 KiB to one peer. Here 32 bytes per peer are enough, and
// none is taken from the budget: it is part of what is beside it.
type keepalives struct {
	n     int
	most  int // keepaliveBatch, but in benchmarks
	peers [keepaliveBatch]*peer
	runs  [keepaliveBatch]conn.Run
	mem   [keepaliveBatch][noise.KeepaliveSize]byte
}

// sendKeepalive sends an empty transport message, together with those of other
// peers. Counter, seal, place in the peer's order and notes are taken now, as for
// any batch (send.go).
func (c *controller) sendKeepalive(p *peer, why session.Reason) {
	k := p.sendKey.Load()
	if !k.usable(c.now) {
		return
	}
	if c.d.log.Enabled(context.Background(), slog.LevelDebug) { // it allocates, also for nobody
		c.d.log.Debug("sending keepalive", "peer", p.public.Short(), "reason", why.String())
	}
	if !p.out.enter() { // somebody is just sending to p
		c.pushKeepalive(p, k)
		return
	}
	if !c.collect(p, k) {
		c.d.endTerm(p, 0)
	}
}

// pushKeepalive leaves a keepalive to the peer's sender.
func (c *controller) pushKeepalive(p *peer, k *keypair) {
	b := c.d.newBatch(p, k, c.now)
	if b == nil {
		c.d.dropped(c.now, DropBudget, 1, p)
		return
	}
	b.add(0, 0, 0)
	c.d.sendOne(b)
}

// collect seals a keepalive. The caller is p's sender, and stays it if collect is
// true, until flush.
func (c *controller) collect(p *peer, k *keypair) bool {
	d, x := c.d, &c.keepalives
	to := p.endpoint.Load()
	if to == nil {
		d.dropped(c.now, DropNoEndpoint, 1, p)
		return false
	}
	if !k.acquire() {
		return false
	}
	defer k.release()
	counter, ok := d.reserveCounters(p, k, c.now, 1)
	if !ok {
		return false
	}
	m := x.mem[x.n][:]
	noise.PutTransportHeader(m, k.keys.RemoteIndex, counter)
	k.keys.Send.Seal(m[noise.TransportHeaderSize:], counter)
	c.secret = true
	p.activity.sent(c.now, false)
	x.peers[x.n] = p
	x.runs[x.n] = conn.Run{Data: m, Segment: len(m), To: to}
	if x.n++; x.n == x.most {
		c.flushKeepalives()
	}
	return true
}

// flushKeepalives hands what was collected to the network in one call, notes what
// became of each, and ends the controller's terms as sender.
func (c *controller) flushKeepalives() {
	d, x := c.d, &c.keepalives
	if x.n == 0 {
		return
	}
	runs := x.runs[:x.n]
	s := d.sockets.Load()
	if s != nil {
		sendFrom(*s, 0, runs)
	}
	for i, p := range x.peers[:x.n] {
		if s == nil {
			d.dropped(c.now, DropDown, 1, p)
		} else {
			d.account(p, runs[i].To, c.now, runs[i:i+1])
		}
		d.endTerm(p, 0)
	}
	clear(x.peers[:x.n])
	clear(runs)
	x.n = 0
}
