package device

import (
	"culvert/conn"
	"culvert/internal/clock"
	"culvert/internal/scrub"
	"culvert/noise"
)

// handshakeBatch is how many messages, and how many jobs, a worker takes at a time when
// they wait: their DHs, one to three each, are computed side by side.
const handshakeBatch = 8

// cookieBatch is how many cookie replies go in one system call.
const cookieBatch = 64

// shaker is a handshake worker: what it has in hand.
type shaker struct {
	d      *Device
	now    clock.Time
	id     *identity // held for the round; nil without a private key
	dhs    noise.DHs
	shakes [2 * handshakeBatch]shake
	n      int

	cookies [cookieBatch][noise.CookieReplySize]byte // to be sent
	replies []conn.Run
}

// shake is a message being opened or built.
type shake struct {
	peer    *peer   // nil: not known yet, or nobody
	remote  *remote // of peer, held
	fresh   bool    // remote takes the place of old
	old     *remote
	from    *hsMessage // that is opened; nil: one is built
	pending *pending   // that it answers, held
	done    bool       // nothing further to do

	openInitiation noise.InitiationOpener
	openResponse   noise.ResponseOpener

	answers  bool  // a response is built, not an initiation
	ev       event // to tell what was built
	initiate noise.InitiationBuilder
	respond  noise.ResponseBuilder
}

// runHandshakes opens and builds handshake messages until the device closes.
func (d *Device) runHandshakes() {
	defer d.workers.Done()
	w := &shaker{d: d}
	for w.collect() {
		w.dhs.Compute()
		for i := range w.shakes[:w.n] {
			w.identify(&w.shakes[i])
		}
		w.dhs.Compute() // for peers that were never heard of before
		for i := range w.shakes[:w.n] {
			w.finish(&w.shakes[i])
		}
		w.end()
		scrub.Deep()
	}
}

// end lets go of what the round held.
func (w *shaker) end() {
	for i := range w.shakes[:w.n] {
		w.shakes[i].end()
	}
	w.n = 0
	w.id.release()
	w.id = nil
}

// end leaves nothing in s.
func (s *shake) end() {
	s.remote.release()
	*s = shake{}
}

// collect waits for something to do, and takes what else there is. Of what the
// controller wants it takes as many as of what others send: thousands of peers that do not answer
// must not keep out one that calls. False: the device closes.
func (w *shaker) collect() bool {
	d := w.d
	var job hsJob
	var message *hsMessage
	select {
	case job = <-d.jobs:
	case message = <-d.handshakes:
	case <-d.closing:
		return false
	}
	w.now, w.id = d.clock.Now(), d.holdIdentity()
	for left := cookieBatch; ; left-- { // so there is room for a reply to each
		if job.peer != nil {
			w.build(job)
		}
		if message != nil {
			w.open(message)
		}
		if left == 1 || w.n+2 > len(w.shakes) {
			break
		}
		if job, message = w.more(); job.peer == nil && message == nil {
			break
		}
	}
	w.sendCookies()
	return true
}

// more takes a job and a message, if there are any.
func (w *shaker) more() (job hsJob, message *hsMessage) {
	select {
	case job = <-w.d.jobs:
	default:
	}
	select {
	case message = <-w.d.handshakes:
	default:
	}
	return job, message
}

// sendCookies sends the cookie replies together. What the network refuses is not missed: who
// got none asks again.
func (w *shaker) sendCookies() {
	if s := w.d.sockets.Load(); s != nil && len(w.replies) > 0 {
		(*s).Send(w.replies)
	}
	clear(w.replies)
	w.replies = w.replies[:0]
}

// next is a shake to use; it is in hand when n counts it.
func (w *shaker) next() *shake { return &w.shakes[w.n] }

// open begins to authenticate a message: one DH for an initiation, one more the first
// time a peer is heard of; two for a response.
func (w *shaker) open(h *hsMessage) {
	d := w.d
	d.crowd.leave(h.source, h.crowded)
	if !w.begin(h) {
		d.hsPool.Put(h)
	}
}

// begin reports whether there is something to compute for h.
func (w *shaker) begin(h *hsMessage) bool {
	d, msg, s := w.d, h.buf[:h.n], w.next()
	if h.kind == noise.TypeCookieReply {
		d.openCookieReply(w.now, msg)
		return false
	}
	if w.id == nil {
		d.dropped(w.now, DropNoPrivateKey, 1, nil)
		return false
	}
	cookie := &w.cookies[len(w.replies)]
	ok, reply := d.gate.admit(d, w.now, h, cookie)
	if reply {
		w.replies = append(w.replies, conn.Run{Data: cookie[:], Segment: len(cookie), To: h.from.Endpoint()})
	}
	if !ok {
		return false
	}
	if h.kind == noise.TypeInitiation {
		if s.openInitiation.Begin(w.id.Identity, msg, &w.dhs) != nil {
			d.dropped(w.now, DropBadHandshake, 1, nil)
			return false
		}
	} else if !w.beginResponse(s, msg) {
		return false
	}
	s.from = h
	w.n++
	return true
}

// beginResponse holds the handshake of ours that msg answers.
func (w *shaker) beginResponse(s *shake, msg []byte) bool {
	var h *pending
	if e := w.d.index.get(noise.Receiver(msg)); e != nil {
		h = e.pending.Load()
	}
	if h == nil || !h.acquire() {
		w.d.dropped(w.now, DropStale, 1, nil)
		return false
	}
	if s.openResponse.Begin(h.id.Identity, h.state, &h.remote.Remote, msg, &w.dhs) != nil {
		h.release()
		w.d.dropped(w.now, DropBadHandshake, 1, h.peer)
		return false
	}
	s.pending, s.peer = h, h.peer
	return true
}

// build begins an initiation (two DHs) or a response (three), for the controller to send. An
// event without keys or handshake says that it failed.
func (w *shaker) build(j hsJob) {
	s := w.next()
	if w.beginToBuild(s, j) {
		w.n++
		return
	}
	if j.answer != nil {
		j.answer.Wipe()
	}
	w.d.deliverEvent(s.ev)
	if s.remote == nil {
		*s = shake{}
		return
	}
	s.done = true // nothing is built, but a DH may have been begun, which writes to what is held
	w.n++
}

func (w *shaker) beginToBuild(s *shake, j hsJob) bool {
	d := w.d
	s.answers = j.answer != nil
	s.ev = event{kind: evInitiated, peer: j.peer, epoch: j.epoch}
	if s.answers {
		s.ev.kind = evResponded
	}
	if j.peer.removed.Load() || w.id == nil {
		return false // of a removed peer nobody waits for it, but there is room for another (starts)
	}
	local, err := d.index.reserve(d.rand)
	if err != nil {
		return false
	}
	s.ev.index, s.peer = local, j.peer
	w.remoteOf(s)
	r := &s.remote.Remote
	if s.answers {
		err = s.respond.Begin(d.rand, j.answer, r, local, &w.dhs)
	} else {
		err = s.initiate.Begin(d.rand, w.id.Identity, r, local, j.stamp, &w.dhs)
	}
	if err != nil {
		d.index.release(local)
		return false
	}
	return true
}

// remoteOf gives what a handshake with the peer needs. The static-static secret is
// computed when it is first needed (two that need it at the same time both do). A peer
// with a low-order key has none: its Shared stays zero, and no handshake with it succeeds.
func (w *shaker) remoteOf(s *shake) {
	r := s.peer.holdRemote()
	if r != nil && r.id == w.id {
		s.remote = r
		return
	}
	s.old, s.remote, s.fresh = r, newRemote(s.peer), true
	s.remote.id = w.id
	if r != nil {
		copy(s.remote.PSK[:], r.PSK[:])
		r.release()
	}
	w.id.AddShared(&s.remote.Remote, &w.dhs)
}

// identify finds the peer of an initiation.
func (w *shaker) identify(s *shake) {
	if s.from == nil || s.pending != nil {
		return
	}
	static, err := s.openInitiation.Static()
	if err != nil {
		w.refuse(s, DropBadHandshake)
		return
	}
	if s.peer = w.d.lookup(static); s.peer == nil {
		s.openInitiation.Wipe()
		w.refuse(s, DropUnknownPeer)
		return
	}
	w.remoteOf(s)
}

// refuse is the end of a message that was to be opened.
func (w *shaker) refuse(s *shake, why Reason) {
	w.d.dropped(w.now, why, 1, s.peer)
	w.d.hsPool.Put(s.from)
	s.done = true
}

// finish passes what was opened or built on to the controller.
func (w *shaker) finish(s *shake) {
	if s.fresh {
		s.peer.publish(s.old, s.remote)  // what is not published the next one computes again
		if w.d.identity.Load() != w.id { // setPrivateKey may have looked before
			s.peer.forgetShared()
		}
	}
	switch {
	case s.done:
	case s.from == nil:
		w.built(s)
	case s.pending != nil:
		w.openedResponse(s)
	default:
		w.openedInitiation(s)
	}
}

// endpoint is where the message came from: the peer's own, whose source is known to be good,
// if that has not changed.
func (s *shake) endpoint() *conn.Endpoint {
	if e := s.peer.endpoint.Load(); s.from.from.From(e) {
		return e
	}
	return s.from.from.Endpoint()
}

func (w *shaker) openedInitiation(s *shake) {
	opened, err := s.openInitiation.Finish(&s.remote.Remote)
	if err != nil {
		w.refuse(s, DropBadHandshake)
		return
	}
	w.d.deliverEvent(event{kind: evInitiation, peer: s.peer, opened: &opened, from: s.endpoint(), id: w.id})
	w.d.hsPool.Put(s.from)
}

func (w *shaker) openedResponse(s *shake) {
	keys, err := s.openResponse.Finish()
	s.pending.release()
	if err != nil {
		w.refuse(s, DropBadHandshake)
		return
	}
	w.d.deliverEvent(event{kind: evResponse, peer: s.peer, keys: keys, from: s.endpoint(), index: keys.LocalIndex})
	w.d.hsPool.Put(s.from)
}

func (w *shaker) built(s *shake) {
	ev, err := &s.ev, error(nil)
	if s.answers {
		msg := new([noise.ResponseSize]byte)
		ev.msg = msg[:]
		ev.keys, err = s.respond.Finish(msg)
	} else {
		msg := new([noise.InitiationSize]byte)
		ev.msg = msg[:]
		var state *noise.Handshake
		if state, err = s.initiate.Finish(msg); err == nil {
			ev.pending = newPending(state, s.peer, s.remote, w.id)
		}
	}
	if err != nil {
		w.d.index.release(ev.index)
		ev.msg = nil
	}
	w.d.deliverEvent(*ev)
}
