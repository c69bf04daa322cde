package sim

import (
	"time"

	"culvert/internal/clock"
	"culvert/noise"
)

// keepaliveDue has the rules of T2 and T5, and of the first message of a session.
func (w *world) keepaliveDue(s *sent) {
	n, p, x := s.from, s.peer, s.sess
	now := n.now()
	last := p.lastSent
	if p.sentNow != now {
		last = p.sentNow
	}
	switch {
	case x.role(n) == 0 && x.first[0] == 0: // confirms the session
	case p.keepalive > 0 && (now.Sub(last) >= time.Duration(p.keepalive)*time.Second || p.keepsSince == now):
	case p.owesKeepalive(now, last):
	default:
		w.fail(n, "sends %s a keepalive that is not due: last sent %v ago, data came %v", p.other.name, now.Sub(last), p.ages(now))
	}
}

// owesKeepalive is T2: data came 10 s ago and nothing was sent since; or a keepalive
// was sent then, and more data had come before it.
func (p *peer) owesKeepalive(now, last clock.Time) bool {
	if now.Sub(last) < keepaliveAfter {
		return false
	}
	for _, at := range p.dataHeard {
		ago := now.Sub(at)
		if ago >= keepaliveAfter && (ago <= 2*(keepaliveAfter+slack) || p.of.jumpedSince(at)) {
			return true
		}
	}
	return false
}

// ages is how long ago data came.
func (p *peer) ages(now clock.Time) (ages []time.Duration) {
	for _, at := range p.dataHeard {
		ages = append(ages, now.Sub(at))
	}
	return ages
}

// checkTimers looks for what should have been sent by now and was not.
func (w *world) checkTimers() {
	w.checkArrived()
	for _, n := range w.nodes {
		if !n.up || n.keyless {
			continue
		}
		now := n.now()
		for _, p := range n.peers {
			if p.present && w.failure == "" {
				w.checkPassive(p, now)
				w.checkNoReply(p, now)
				w.checkPersistent(p, now)
				w.checkWaiting(p, now)
			}
		}
	}
}

// checkPassive is T2 again: data was delivered, so it was authentic, and nothing went
// back for 10 s, though there is a key to send with.
func (w *world) checkPassive(p *peer, now clock.Time) {
	if p.unacked == 0 || now.Sub(p.unacked) <= keepaliveAfter+2*slack {
		return
	}
	if x := p.sending; x != nil && now.Sub(x.born[x.role(p.of)]) < rejectAfter && !p.of.jumpedSince(p.unacked) {
		w.fail(p.of, "got data of %s %v ago and has sent no keepalive (T2)", p.other.name, now.Sub(p.unacked))
	}
	p.unacked = 0
}

// checkNoReply is T3: data was sent, nothing came back, and no handshake has begun.
func (w *world) checkNoReply(p *peer, now clock.Time) {
	due := p.silence.Add(noReplyAfter + mostJitter + 2*slack)
	if p.silence == 0 || now < due {
		return
	}
	if p.initiated < p.silence && p.shaken < p.silence && !p.of.jumpedSince(p.silence) {
		w.fail(p.of, "sent data to %s %v ago, got nothing and has not initiated (T3)", p.other.name, now.Sub(p.silence))
	}
	p.silence = 0
}

// checkPersistent is T5: silence for longer than the interval.
func (w *world) checkPersistent(p *peer, now clock.Time) {
	if p.keepalive == 0 || p.sentNow == 0 { // it may not know where p is
		return
	}
	interval := max(time.Duration(p.keepalive)*time.Second, rekeyTimeout+mostJitter)
	last := max(p.sentNow, p.reason, p.keepsSince)
	if late := now.Sub(last) - interval - min(interval/32, time.Second) - rekeyTimeout; late > 3*slack && !p.of.jumpedSince(last) {
		w.fail(p.of, "has been silent to %s for %v with a persistent keepalive of %d s (T5)", p.other.name, now.Sub(last), p.keepalive)
	}
}

// checkWaiting is REKEY_TIMEOUT again: a packet waits for an initiation no longer than that,
// or for the retry of one, both counted from the last response as well.
func (w *world) checkWaiting(p *peer, now clock.Time) {
	if p.waiting == 0 || now.Sub(max(p.waiting, p.shaken)) <= rekeyTimeout+mostJitter+2*slack {
		return
	}
	if !p.of.jumpedSince(p.waiting) {
		w.fail(p.of, "has a packet for %s since %v and has neither sent it nor initiated", p.other.name, now.Sub(p.waiting))
	}
	p.waiting = 0
}

// delivered looks whether a packet may come out of n's TUN.
func (n *node) delivered(b []byte) {
	w := n.w
	f, seq, ok := w.identify(b)
	if !ok {
		if n.isError(b) {
			n.tally.errors++
			w.say(n, "tun> icmp error")
			return
		}
		w.fail(n, "delivers %d bytes that nobody sent like that: % x", len(b), b[:min(48, len(b))])
		return
	}
	p, from := &f.packets[seq], n.lookup(f.src.Addr())
	w.say(n, "tun> flow %d #%d", f.id, seq)
	n.tally.delivered++
	w.stats.Delivered++
	at := f.progress(n)
	switch {
	case p.delivered:
		w.fail(n, "delivers packet %d of flow %d a second time", seq, f.id)
	case p.peer == nil || p.peer.other != n:
		w.fail(n, "delivers packet %d of flow %d, which was not for it", seq, f.id)
	case from == nil || from.other != f.from:
		w.fail(n, "delivers packet %d of flow %d: %s is not allowed to send from %v", seq, f.id, f.from.name, f.src.Addr())
	case seq < at.seq && !at.disordered:
		w.fail(n, "delivers packet %d of flow %d after %d; the network has kept the order", seq, f.id, at.seq)
	}
	p.delivered = true
	at.seq = max(at.seq, seq)
	if from == nil {
		return
	}
	if !n.slow {
		if from.dataSent != n.now() {
			from.unanswered = 0
		}
		if from.unacked == 0 && from.sentNow != n.now() { // what was sent now may be later
			from.unacked = n.now()
		}
	}
}

// isError reports whether b is an ICMP error.
func (n *node) isError(b []byte) bool {
	return len(b) > 40 && (b[0]>>4 == 4 && b[9] == 1 || b[0]>>4 == 6 && b[6] == 58)
}

// patience is how long a packet may take when all is well: it may have to wait for a
// handshake, and that for REKEY_TIMEOUT.
const patience = 8 * time.Second

// checkArrived looks whether everything arrived that had to.
func (w *world) checkArrived() {
	for len(w.owed) > 0 {
		f, seq := w.owed[0].flow, w.owed[0].seq
		p := &f.packets[seq]
		switch {
		case p.delivered:
		case p.peer != nil && (p.sent-p.peer.crossedW).Abs() < 2*time.Second:
			w.stats.Excused++
		case w.now()-p.sent < patience:
			return
		default:
			w.fail(f.from, "packet %d of flow %d to %s, sent at %v, has not arrived though all is well since %v", seq, f.id, f.to.name, p.sent, w.plan.heal)
			return
		}
		w.owed = w.owed[1:]
	}
}

// owed is a packet that has to arrive.
type owed struct {
	flow *flow
	seq  int
}

// describe0 is the datagram in a word, for counting.
func (s *sent) describe0() string {
	if s.kind == noise.TypeTransport && len(s.Data) > noise.KeepaliveSize {
		return "data"
	}
	return s.describe()
}
