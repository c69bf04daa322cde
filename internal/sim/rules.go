package sim

import (
	"time"

	"culvert/internal/clock"
	"culvert/noise"
)

// The rules of messages: BEHAVIOUR of each timer as seen from outside. What a rule
// needs to know and the wire does not tell is taken to be whatever breaks no rule.

// The protocol's numbers (paper, section 6.1), and what this implementation adds to them.
// They are written down again here, so that a change of the device's is noticed.
const (
	rekeyTimeout   = 5 * time.Second
	rekeyAfter     = 120 * time.Second
	rejectAfter    = 180 * time.Second
	keepaliveAfter = 10 * time.Second
	noReplyAfter   = 15 * time.Second
	rejectMessages = 1<<64 - 1 - 8128 - 1

	mostJitter      = 333 * time.Millisecond // of T1 and T3
	mostRekeyJitter = 5 * time.Second        // of a key's renewal
	tick            = 1 << 26                // ns, of the wheel
)

// slack is how late a timer may fire: the wheel's tick, twice where a deadline is found
// by looking.
const slack = 2*tick + time.Millisecond

// observe looks whether a device may send this, now, to there.
func (w *world) observe(s *sent) {
	n := s.from
	if w.over {
		return
	}
	if !n.up {
		w.fail(n, "sends %s while its link is down", s.describe())
	}
	if n.keyless {
		w.fail(n, "sends %s though it has no private key", s.describe())
	}
	w.stats.Sent[s.describe0()]++
	switch s.kind {
	case noise.TypeInitiation:
		w.initiation(s)
	case noise.TypeResponse:
		w.response(s)
	case noise.TypeTransport:
		w.transport(s)
	case noise.TypeCookieReply:
		return
	default:
		w.fail(n, "sends %d bytes that are no message", len(s.Data))
		return
	}
	if w.failure == "" {
		w.destination(s)
	}
	if s.Err == nil && s.peer != nil {
		s.peer.tx += uint64(len(s.Data))
	}
}

// destination is roaming: a peer is sent to where it was heard last.
func (w *world) destination(s *sent) {
	switch p := s.peer; {
	case !p.legit[s.To]:
		w.fail(s.from, "sends %s to %v, where %s has never been", s.describe(), s.To, p.other.name)
	case p.at.IsValid() && p.at != s.To:
		w.fail(s.from, "sends %s to %v, though %s is at %v", s.describe(), s.To, p.other.name, p.at)
	}
}

// sends notes an authentic message to p.
func (p *peer) sends(data bool) {
	now := p.of.now()
	if p.sentNow != now {
		p.lastSent, p.sentNow = p.sentNow, now
	}
	p.unacked = 0
	if data {
		p.waiting = 0
		p.dataSent = now
		if p.unanswered == 0 {
			p.unanswered = now
		}
		if p.silence == 0 {
			p.silence = now
		}
	}
}

func (w *world) initiation(s *sent) {
	n, now := s.from, s.from.now()
	p := n.addressee(s.Data)
	if p == nil {
		w.fail(n, "initiates to none of its peers")
		return
	}
	s.peer = p
	w.initiationDue(p, now)
	p.initiated, p.initiatedW, p.shaken, p.free, p.waiting = now, w.now(), now, false, 0
	p.series++
	p.sends(false)
	w.crossed(p)
	w.register(n, senderIndex(s.Data), &half{peer: p, init: s})
}

// crossed notes initiations of both sides that are on the way at the same time, and one by
// who has answered another that was never confirmed. What is on its way with the key before
// may then be lost: there are three places for keys, and that would be the fourth (device/session,
// key slots; the kernel does the same in the second case).
func (w *world) crossed(p *peer) {
	q := p.other.peerOf(p.of)
	if q == nil {
		return
	}
	both := q.initiated != 0 && w.now()-q.initiatedW < time.Second
	unheard := p.answer != nil && p.answer.heard[1] == 0
	if both || unheard {
		p.crossedW, q.crossedW = w.now(), w.now()
	}
}

// initiationDue has the rules of T1, REKEY_TIMEOUT and giving up.
func (w *world) initiationDue(p *peer, now clock.Time) {
	n := p.of
	if since := now.Sub(p.shaken); p.shaken != 0 && since < rekeyTimeout && !p.free {
		w.fail(n, "initiates to %s %v after the last handshake message (REKEY_TIMEOUT)", p.other.name, since)
	}
	if s := p.sending; s != nil && w.unprovoked(p, s, now) {
		w.fail(n, "initiates to %s though the session is %v old and nothing is unanswered", p.other.name, now.Sub(s.born[s.role(n)]))
	}
	if p.keepalive > 0 {
		return
	}
	// A series has 20 initiations, 5.4 s apart, and one that T3 begins may follow another.
	if quiet := now.Sub(p.reason); quiet > 125*time.Second || p.series > 24 {
		w.fail(n, "initiates to %s, the %d. time in %v without any reason", p.other.name, p.series+1, quiet)
	}
	if p.reason < p.initiated && now.Sub(p.dataSent) > 25*time.Second { // nothing but T1 can be it
		from := p.initiated.Add(rekeyTimeout + n.jitterAt(p.initiatedW, mostJitter))
		if now < from || now > from.Add(slack) {
			w.fail(n, "retries %s %v after the last initiation, not after %v (T1)", p.other.name, now.Sub(p.initiated), from.Sub(p.initiated))
		}
	}
}

// unprovoked reports that there is a session in use that needs no renewal, for which
// no reply is missing, and nothing else that could be meant.
func (w *world) unprovoked(p *peer, s *session, now clock.Time) bool {
	r := s.role(p.of)
	settled, renew := s.first[r], s.born[r].Add(rejectAfter)
	if r == 0 {
		renew = s.renewal()
	}
	noReply := p.unanswered != 0 && now.Sub(p.unanswered) >= noReplyAfter
	return now < renew && !noReply && settled != 0 && settled > p.initiated && settled > p.shaken && p.keepsSince < settled && !p.of.jumpedSince(settled)
}

func (w *world) response(s *sent) {
	n, now := s.from, s.from.now()
	p := n.addressee(s.Data)
	if p == nil {
		w.fail(n, "answers none of its peers")
		return
	}
	s.peer = p
	h := w.halves[halfKey{p.other, receiverIndex(s.Data)}]
	switch {
	case h == nil || h.init == nil:
		w.fail(n, "answers an initiation that nobody sent")
		return
	case h.sess != nil && h.init.answered >= p.added: // a peer that is added again has no stamp
		w.fail(n, "answers an initiation of %s twice", p.other.name)
		return
	case h.peer.other != n:
		w.fail(n, "answers an initiation of %s to %s", p.other.name, h.peer.other.name)
		return
	}
	x := &session{ends: [2]*peer{h.peer, p}, index: [2]uint32{receiverIndex(s.Data), senderIndex(s.Data)}}
	x.born[1], x.used = now, [2]map[uint64]bool{{}, {}}
	h.sess, s.sess, h.init.answered = x, x, now
	p.shaken, p.answer = now, x
	p.sends(false)
	n.tally.responses++
	w.register(n, x.index[1], &half{peer: p, sess: x})
}

func (w *world) transport(s *sent) {
	n := s.from
	for _, p := range n.peers {
		if h := w.halves[halfKey{p.other, receiverIndex(s.Data)}]; h != nil && h.sess != nil && h.sess.role(n) >= 0 {
			s.sess, s.peer = h.sess, h.sess.ends[h.sess.role(n)]
		}
	}
	if s.sess == nil {
		w.fail(n, "sends to the index %08x of no session", receiverIndex(s.Data))
		return
	}
	w.transportDue(s)
	if w.failure != "" {
		return
	}
	x, p, r := s.sess, s.peer, s.sess.role(n)
	if len(s.Data) == noise.KeepaliveSize {
		w.keepaliveDue(s)
	} else {
		n.tally.sent++
	}
	if x.first[r] == 0 {
		x.first[r] = n.now()
		if r == 0 {
			n.tally.sessions++
		}
	}
	p.sending = x
	p.sends(len(s.Data) > noise.KeepaliveSize)
}

// transportDue has the rules of keys: whose they are, how old, which of several.
func (w *world) transportDue(s *sent) {
	n, x, p := s.from, s.sess, s.peer
	r, c, now := x.role(n), counterOf(s.Data), n.now()
	age := now.Sub(x.born[r])
	switch {
	case !p.present:
		w.fail(n, "sends to %s, which is no peer of it", p.other.name)
	case x.born[r] == 0:
		w.fail(n, "sends with a session it cannot have derived")
	case p.cleared > x.born[r]:
		w.fail(n, "sends with a session of before it was cleared")
	case age >= rejectAfter:
		w.fail(n, "sends with a key that is %v old", age)
	case r == 1 && x.heard[1] == 0:
		w.fail(n, "sends to %s though nothing has confirmed the session", p.other.name)
	case x.used[r][c]:
		w.fail(n, "sends counter %d to %s a second time", c, p.other.name)
	case c >= rejectMessages || c > x.high[r]+1<<20:
		w.fail(n, "sends counter %d to %s", c, p.other.name)
	case p.sending != nil && p.sending != x && x.first[r] != 0:
		w.fail(n, "goes back to an older key with %s", p.other.name)
	case p.answer != nil && p.answer != x && x.born[r] < p.answer.born[1] && p.answer.heard[1] != 0:
		w.fail(n, "still sends to %s with the key before the one that was confirmed %v ago", p.other.name, now.Sub(p.answer.heard[1]))
	case r == 0 && w.overdue(x, p, now):
		w.fail(n, "sends to %s with a key of %v and has not renewed it", p.other.name, age)
	}
	x.used[r][c] = true
	x.high[r] = max(x.high[r], c)
}

// overdue reports that an initiator sends with a key that it should have begun to renew:
// when it first sent after 120 s and the jitter, or with the retry of what it began before.
func (w *world) overdue(x *session, p *peer, now clock.Time) bool {
	due := x.renewal()
	return now >= due && p.initiated < due && now.Sub(p.shaken) > rekeyTimeout+mostJitter+slack && !p.of.jumpedSince(x.born[0])
}

// renewal is from when the initiator renews the key if it sends.
func (x *session) renewal() clock.Time {
	return x.born[0].Add(rekeyAfter + x.ends[0].of.jitterAt(x.bornW, mostRekeyJitter))
}
