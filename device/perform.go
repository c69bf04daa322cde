package device

import (
	"culvert/device/session"
	"culvert/noise"
)

// perform does what a session machine asks for, in the order of the fields of
// session.Actions. ev is the event that led to it, or nil.
func (c *controller) perform(p *peer, out *session.Actions, ev *event) {
	for _, index := range out.Forget[:out.ForgetN] {
		c.forget(p, index)
	}
	if out.Install != nil {
		c.install(p, out.Install)
	}
	if ev != nil && ev.kind == evInitiated && out.SendHandshake {
		p.needSecrets().waiting = ev.pending
	}
	if out.SetSendKey {
		c.setSendKey(p, out.SendKey)
	}
	if out.HandshakeComplete {
		p.handshake.Store(c.d.clock.Wall().UnixNano())
		p.loopSaid.Store(false)
		c.d.log.Debug("handshake complete", "peer", p.public.Short())
	}
	if out.ForgetSource {
		p.forgetSource(p.endpoint.Load())
	}
	c.clearNotes(p, out)
	c.handshakes(p, out, ev)
	if out.DropStaged {
		c.d.dropStaged(p, c.now, DropNoSession)
	}
	c.traffic(p, out)
	if out.Note != 0 {
		c.d.log.Debug(out.Note.String(), "peer", p.public.Short())
	}
	c.settle(p)
}

// clearNotes cancels T2 and T3, before anything is sent: what comes in answer
// to it may be there, and noted, before the send returns.
func (c *controller) clearNotes(p *peer, out *session.Actions) {
	if out.ClearUnacked {
		p.activity.unackedSince.Store(0)
		p.activity.moreUnacked.Store(false)
	}
	if out.ClearUnanswered {
		p.activity.unansweredSince.Store(0)
	}
}

// handshakes has messages built, or sends the one that was.
func (c *controller) handshakes(p *peer, out *session.Actions, ev *event) {
	if out.Initiate {
		c.d.log.Debug("initiating", "peer", p.public.Short(), "reason", out.InitiateReason.String(), "attempt", out.Attempt)
		c.wantStart(p, out.InitiateReason)
	}
	if out.Respond {
		c.answer(p, hsJob{peer: p, epoch: p.epoch, answer: ev.opened})
	}
	if out.SendHandshake {
		p.jar.Seal(c.now, p.public, ev.msg)
		p.activity.sent(c.now, false)
		run, ok := c.d.sendTo(p.endpoint.Load(), ev.msg, tosHandshake)
		if run.SourceLost {
			p.forgetSource(run.To)
		}
		if ok {
			p.tx.Add(uint64(len(ev.msg)))
		} else {
			c.d.dropped(c.now, DropSendError, 1, p)
			c.d.sendFailed(p, run.Err)
		}
	}
}

// answer has a response built; with no room it is as if it had been lost.
func (c *controller) answer(p *peer, j hsJob) {
	select {
	case c.d.jobs <- j:
	default:
		c.d.dropped(c.now, DropHandshakes, 1, p)
		j.answer.Wipe()
	}
}

// traffic sends what is staged or a keepalive, and rearms T2.
func (c *controller) traffic(p *peer, out *session.Actions) {
	flushed := false
	if out.Flush && p.stage.waiting() {
		c.d.flushStaged(p, c.now)
		flushed = true
	}
	if out.Keepalive && !flushed {
		c.sendKeepalive(p, out.KeepaliveReason)
	}
	if out.RearmKeepalive {
		p.activity.moreUnacked.Store(false)
		p.activity.unackedSince.Store(int64(c.now))
	}
}

// install makes a new keypair reachable for the inbound pipe.
func (c *controller) install(p *peer, keys *noise.Keypair) {
	x := p.needSecrets()
	x.settle(keys.LocalIndex)
	k := newKeypair(p, keys, c.now, c.d.opts.Jitter)
	if previous, ok := p.machine.Previous(); ok && !keys.Initiator {
		k.replaces.Store(p.key(previous))
	}
	for i := range x.keys {
		if x.keys[i] == nil {
			x.keys[i] = k
			c.d.index.setKeypair(keys.LocalIndex, k)
			if len(c.labels) > 0 {
				c.prefer()
			}
			return
		}
	}
	panic("BUG: a session has more than three keypairs")
}

// settle ends the handshake with that index, if it is the one under way.
func (x *secrets) settle(index uint32) {
	if x.waiting != nil && x.waiting.state.LocalIndex == index {
		x.waiting.release()
		x.waiting = nil
	}
}

// setSendKey publishes the key the outbound pipe uses. With a new one every other
// is of the past, also one that its first packet has not reached yet (package
// session, key slots).
func (c *controller) setSendKey(p *peer, keys *noise.Keypair) {
	var k *keypair
	if keys != nil {
		k = p.key(keys.LocalIndex)
		for _, other := range p.keypairs() {
			if other != nil && other != k {
				other.barred.Store(true)
			}
		}
	}
	if p.secrets != nil {
		p.secrets.sending = k
	}
	p.sendKey.Store(k)
}

// republish puts the send key back after one that was promoted too late was
// taken back.
func (c *controller) republish(p *peer) {
	if x := p.secrets; x != nil && x.sending != nil {
		p.sendKey.CompareAndSwap(nil, x.sending)
	}
}

// forget retires a handshake or keypair: nothing finds it any more, and its
// secrets are wiped when the last batch in flight is done with it.
func (c *controller) forget(p *peer, index uint32) {
	c.d.index.release(index)
	x := p.secrets
	if x == nil {
		return
	}
	x.settle(index)
	for i, k := range x.keys {
		if k == nil || k.keys.LocalIndex != index {
			continue
		}
		k.barred.Store(true)
		k.replaces.Store(nil) // else keys that are never confirmed would keep all before them
		p.sendKey.CompareAndSwap(k, nil)
		if x.sending == k {
			x.sending = nil
		}
		x.keys[i] = nil
		k.release()
	}
	p.dropSecrets()
}
