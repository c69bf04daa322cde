package device

import (
	"runtime"
	"sync"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/ratelimiter"
)

// handshakeQueue bounds the handshake messages that wait for a worker, apart
// from the budget for data, so neither starves the other (kernel:
// MAX_QUEUED_INCOMING_HANDSHAKES).
const handshakeQueue = 4096

// jobQueue bounds the handshakes that the controller wants built.
const jobQueue = 4096

// defaultHandshakeWorkers leaves cores to the pipes.
func defaultHandshakeWorkers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// hsMessage is a handshake message on its way to a worker. It does not count
// against the budget: there are at most handshakeQueue of them.
type hsMessage struct {
	kind noise.MessageType
	from conn.Message // without Data
	buf  [noise.InitiationSize]byte
	n    int
}

// hsJob is a message the controller wants built for p. What comes of it is void
// unless p's epoch is still the same.
type hsJob struct {
	peer   *peer
	epoch  uint32
	answer *noise.OpenedInitiation // a response to this; nil: an initiation
	stamp  noise.Timestamp
}

// gate is what handshake messages have to pass before they cost a DH. Its lock
// is held for microseconds, by handshake workers only.
type gate struct {
	mu      sync.Mutex
	load    ratelimiter.Load
	limit   *ratelimiter.Limiter
	cookies *noise.CookieChecker // nil without a private key
}

// offerHandshake queues a handshake message whose mac1 is good. A bad one may
// not occupy anything.
func (in *inbound) offerHandshake(b []byte, m *conn.Message) {
	d, now, kind := in.d, in.now, noise.Classify(b)
	if kind != noise.TypeCookieReply {
		id := d.identity.Load()
		if id == nil {
			d.dropped(now, DropNoPrivateKey, 1, nil)
			return
		}
		if !id.CheckMAC1(&in.hasher, b) {
			d.dropped(now, DropBadMAC1, 1, nil)
			return
		}
	}
	h, _ := d.hsPool.Get().(*hsMessage)
	if h == nil {
		h = new(hsMessage)
	}
	h.kind, h.from, h.n = kind, *m, copy(h.buf[:], b)
	h.from.Data = nil
	select {
	case d.handshakes <- h:
	default:
		d.hsPool.Put(h)
		d.dropped(now, DropHandshakes, 1, nil)
	}
}

// runHandshakes opens and builds handshake messages until the device closes.
// What the controller wants goes first, but at most one for each that others
// send: thousands of peers that do not answer must not keep out one that calls.
func (d *Device) runHandshakes() {
	defer d.workers.Done()
	for {
		select {
		case j := <-d.jobs:
			d.build(j)
			select {
			case h := <-d.handshakes:
				d.openAndKeep(h)
			default:
			}
			continue
		default:
		}
		select {
		case j := <-d.jobs:
			d.build(j)
		case h := <-d.handshakes:
			d.openAndKeep(h)
		case <-d.closing:
			return
		}
	}
}

// openAndKeep is open that keeps the memory for another message.
func (d *Device) openAndKeep(h *hsMessage) {
	d.open(h)
	d.hsPool.Put(h)
}

// open authenticates a message and passes it on to the controller.
func (d *Device) open(h *hsMessage) {
	now, msg := d.clock.Now(), h.buf[:h.n]
	if h.kind == noise.TypeCookieReply {
		d.openCookieReply(now, msg)
		return
	}
	id := d.identity.Load()
	if id == nil {
		d.dropped(now, DropNoPrivateKey, 1, nil)
		return
	}
	if !d.admit(now, msg, &h.from) {
		return
	}
	if h.kind == noise.TypeInitiation {
		d.openInitiation(now, id, msg, &h.from)
	} else {
		d.openResponse(now, msg, &h.from)
	}
}

// admit asks for a proof of address and a token, but only under load.
func (d *Device) admit(now clock.Time, msg []byte, from *conn.Message) bool {
	var cookie [noise.CookieReplySize]byte
	ok, reply := d.gate.admit(d, now, msg, from, &cookie)
	if reply {
		d.sendTo(from.Endpoint(), cookie[:], 0)
	}
	return ok
}

// admit decides, and makes the cookie reply if one is due. It is sent without
// the lock.
func (g *gate) admit(d *Device, now clock.Time, msg []byte, from *conn.Message, cookie *[noise.CookieReplySize]byte) (ok, reply bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load.Note(now, len(d.handshakes), cap(d.handshakes))
	if !g.load.Under(now) || g.cookies == nil {
		return true, false
	}
	if g.cookies.CheckMAC2(now, d.rand, msg, from.Remote) {
		if g.limit.Allow(now, from.Remote.Addr()) {
			return true, false
		}
		d.dropped(now, DropRateLimited, 1, nil)
		return false, false
	}
	d.dropped(now, DropCookieNeeded, 1, nil)
	return false, g.cookies.CreateReply(now, d.rand, msg, from.Remote, cookie) == nil
}

// openInitiation authenticates an initiation: one DH, and one more the first
// time a peer is heard of.
func (d *Device) openInitiation(now clock.Time, id *noise.Identity, msg []byte, from *conn.Message) {
	var p *peer
	opened, err := id.OpenInitiation(msg, func(static config.PublicKey) *noise.Remote {
		if p = d.lookup(static); p == nil {
			return nil
		}
		return &d.remoteOf(p, id).Remote
	})
	switch {
	case err == nil:
		d.deliverEvent(event{kind: evInitiation, peer: p, opened: &opened, from: from.Endpoint(), id: id})
	case p == nil && err == noise.ErrUnknownPeer:
		d.dropped(now, DropUnknownPeer, 1, nil)
	default:
		d.dropped(now, DropBadHandshake, 1, p)
	}
}

// openResponse authenticates a response to a handshake of ours: two DHs.
func (d *Device) openResponse(now clock.Time, msg []byte, from *conn.Message) {
	e := d.index.get(noise.Receiver(msg))
	var h *pending
	if e != nil {
		h = e.pending.Load()
	}
	if h == nil || !h.acquire() {
		d.dropped(now, DropStale, 1, nil)
		return
	}
	defer h.release()
	keys, err := h.id.OpenResponse(h.state, h.remote, msg)
	if err != nil {
		d.dropped(now, DropBadHandshake, 1, h.peer)
		return
	}
	d.deliverEvent(event{kind: evResponse, peer: h.peer, keys: keys, from: from.Endpoint(), index: keys.LocalIndex})
}

// openCookieReply passes a reply on to the one it claims to answer.
func (d *Device) openCookieReply(now clock.Time, msg []byte) {
	var p *peer
	if e := d.index.get(noise.Receiver(msg)); e != nil {
		if h := e.pending.Load(); h != nil {
			p = h.peer
		} else if k := e.keypair.Load(); k != nil {
			p = k.peer
		}
	}
	if p == nil {
		d.dropped(now, DropBadCookie, 1, nil)
		return
	}
	reply := [noise.CookieReplySize]byte(msg)
	d.deliverEvent(event{kind: evCookieReply, peer: p, cookie: &reply})
}

// build makes an initiation (two DHs) or a response (three) and gives it to the
// controller; an event without keys or handshake says that it failed.
func (d *Device) build(j hsJob) {
	ev := event{kind: evInitiated, peer: j.peer, epoch: j.epoch}
	if j.answer != nil {
		ev.kind = evResponded
	}
	if j.answer != nil {
		defer j.answer.Wipe()
	}
	if j.peer.removed.Load() {
		d.deliverEvent(ev) // nobody waits for it, but there is room for another (starts)
		return
	}
	id := d.identity.Load()
	if id == nil {
		d.deliverEvent(ev)
		return
	}
	local, err := d.index.reserve(d.rand)
	if err != nil {
		d.deliverEvent(ev)
		return
	}
	r := d.remoteOf(j.peer, id)
	ev.index = local
	if j.answer != nil {
		ev.msg = make([]byte, noise.ResponseSize)
		ev.keys, err = noise.CreateResponse(d.rand, j.answer, &r.Remote, local, (*[noise.ResponseSize]byte)(ev.msg))
	} else {
		var state *noise.Handshake
		ev.msg = make([]byte, noise.InitiationSize)
		state, err = noise.CreateInitiation(d.rand, id, &r.Remote, local, j.stamp, (*[noise.InitiationSize]byte)(ev.msg))
		if err == nil {
			ev.pending = &pending{state: state, peer: j.peer, remote: &r.Remote, id: id}
			ev.pending.init()
		}
	}
	if err != nil {
		d.index.release(local)
		ev.msg = nil
	}
	d.deliverEvent(ev)
}

// remoteOf gives what a handshake with p needs, and computes the static-static
// secret when it is first needed (two workers that need it at the same time both
// do). A peer with a low-order key has none: its Shared stays zero, and no handshake
// with it succeeds.
func (d *Device) remoteOf(p *peer, id *noise.Identity) *remote {
	r := p.remote.Load()
	if r != nil && r.id == id {
		return r
	}
	fresh := &remote{id: id}
	fresh.Static = p.public
	if r != nil {
		fresh.PSK = r.PSK
	}
	fresh.Shared, _ = id.StaticShared(p.public)
	p.remote.CompareAndSwap(r, fresh) // lost to a changed preshared key: the next one computes again
	return fresh
}

// lookup finds a peer by its public key.
func (d *Device) lookup(k config.PublicKey) *peer {
	d.byKey.mu.RLock()
	defer d.byKey.mu.RUnlock()
	return d.byKey.m[k]
}

// sendTo sends one handshake message.
func (d *Device) sendTo(to *conn.Endpoint, msg []byte, tos byte) (conn.Run, bool) {
	run := [1]conn.Run{{Data: msg, Segment: len(msg), To: to, TOS: tos}}
	s := d.sockets.Load()
	if s == nil || to == nil {
		return run[0], false
	}
	(*s).Send(run[:])
	return run[0], run[0].Err == nil
}

// peerMap is the peers by public key: written by the controller, read by
// handshake workers, never by the pipes.
type peerMap struct {
	mu   sync.RWMutex
	m    map[config.PublicKey]*peer
	most int // that m has had: a map of Go keeps its size
}

// put adds a peer.
func (b *peerMap) put(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[p.public] = p
	b.most = max(b.most, len(b.m))
}

// remove takes a peer out.
func (b *peerMap) remove(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, p.public)
}

// shrink gives memory back when few are left of many.
func (b *peerMap) shrink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most < 1024 || len(b.m) > b.most/4 {
		return
	}
	m := make(map[config.PublicKey]*peer, len(b.m))
	for k, p := range b.m {
		m[k] = p
	}
	b.m, b.most = m, len(m)
}
