package session

import (
	"time"

	"culvert/noise"
)

// What the player does for its Machine: perform what it says, in the order of the
// fields, and be the data path.

func (p *player) perform(out *Actions) {
	for _, i := range out.Forget[:out.ForgetN] {
		if !p.hands[i] && p.keys[i] == nil {
			p.failf("index %d is forgotten, which nobody knows", i)
		}
		delete(p.hands, i)
		delete(p.keys, i)
	}
	if out.Install != nil {
		p.install(out.Install)
	}
	if out.SetSendKey {
		p.setSend(out.SendKey)
	}
	p.got.complete, p.got.forgetSource = out.HandshakeComplete, out.ForgetSource
	if out.ClearUnacked {
		p.act.UnackedSince, p.act.MoreUnacked = 0, false
	}
	if out.ClearUnanswered {
		p.act.UnansweredSince = 0
	}
	if out.Initiate {
		p.got.initiate, p.got.why = out.Attempt, out.InitiateReason
		p.builds = append(p.builds, build{epoch: p.epoch})
	}
	if out.Respond {
		p.got.respond = true
		p.builds = append(p.builds, build{respond: true, remote: p.opened.RemoteIndex, epoch: p.epoch})
	}
	if out.SendHandshake {
		p.sendHandshake()
	}
	if out.DropStaged {
		p.got.dropped, p.staged = p.staged, 0
	}
	if out.Flush {
		p.flush(out)
	}
	if out.RearmKeepalive {
		p.act.UnackedSince, p.act.MoreUnacked = p.now, false
	}
	p.got.note = out.Note
	if out.DropStagedReason == Cleared {
		p.got.note = None
	}
}

func (p *player) install(kp *noise.Keypair) {
	if !p.hands[kp.LocalIndex] {
		p.failf("index %d is installed, which nobody knows", kp.LocalIndex)
	}
	delete(p.hands, kp.LocalIndex)
	k := &playKey{kp: kp, born: p.now, unconfirmed: !kp.Initiator}
	if kp.Initiator {
		k.renewAt = p.now.Add(specRekeySend + p.draw(specRekeyJitter))
	}
	p.keys[kp.LocalIndex] = k
}

func (p *player) setSend(kp *noise.Keypair) {
	if kp == nil {
		p.send = nil
	} else if p.send = p.keys[kp.LocalIndex]; p.send == nil {
		p.failf("the send key is not installed")
	}
}

// sendHandshake puts MACs on a message, as the owner does.
func (p *player) sendHandshake() {
	p.got.handshake = true
	p.before = p.message
	p.message = make([]byte, noise.InitiationSize)
	p.message[0] = byte(noise.TypeInitiation)
	p.message[8] = byte(p.last)
	p.jar.Seal(p.now, theirs, p.message)
	p.got.mac2 = noise.HasCookie(p.message)
	p.sent(false)
}

func (p *player) flush(out *Actions) {
	if !p.usable() {
		if p.send != nil && p.send.counter >= specRejectCounter {
			return
		}
		p.failf("Flush without a live key")
	}
	switch n := p.staged; {
	case n > 0:
		p.staged = 0
		p.got.data += n
		p.send.counter += uint64(n)
		p.sent(true)
	case out.Keepalive:
		p.got.keepalive = out.KeepaliveReason
		p.send.counter++
		p.sent(false)
	}
}

// sent and received are the notes of the data path.
func (p *player) sent(data bool) {
	p.act.UnackedSince, p.act.MoreUnacked = 0, false
	if data && p.act.UnansweredSince == 0 {
		p.act.UnansweredSince = p.now
	}
	p.act.LastTraffic = p.now
}

func (p *player) received(data bool) {
	p.act.UnansweredSince = 0
	if data && p.act.UnackedSince == 0 {
		p.act.UnackedSince = p.now
	} else if data {
		p.act.MoreUnacked = true
	}
	p.act.LastTraffic = p.now
}

func (p *player) usable() bool {
	k := p.send
	return k != nil && p.now < k.born.Add(specReject) && k.counter < specRejectCounter
}

// work ends what is being built, unless that takes longer.
func (p *player) work() {
	for !p.slow && len(p.builds) > 0 {
		p.finish(true)
	}
}

// finish is a worker that ends the oldest build. What began before the sessions
// were cleared or expired is void.
func (p *player) finish(ok bool) {
	if len(p.builds) == 0 {
		return
	}
	b := p.builds[0]
	p.builds = p.builds[1:]
	switch {
	case b.epoch != p.epoch || !p.up:
	case b.respond && ok:
		kp := &noise.Keypair{LocalIndex: p.index(), RemoteIndex: b.remote}
		p.event("a response is built", func(out *Actions) error { p.m.Responded(p.now, kp, out); return nil },
			func(m *model, o *outcome) { m.answered(p.now, kp.LocalIndex, b.remote, o) })
	case b.respond:
	case ok:
		p.nextLabel()
		i := p.index()
		p.begun = append(p.begun, i)
		p.event("an initiation is built", func(out *Actions) error { p.m.Initiated(p.now, i, out); return nil },
			func(m *model, o *outcome) { m.built(p.now, i, o) })
	default:
		p.event("an initiation cannot be built", func(out *Actions) error { p.m.InitiationFailed(p.now, out); return nil },
			func(m *model, o *outcome) { m.built(p.now, 0, o) })
	}
}

// index gives one that leads here from now on.
func (p *player) index() uint32 {
	p.last++
	p.hands[p.last] = true
	return p.last
}

// nextLabel wants the label of an initiation to be that of the wall clock, or the
// next one if that is not after the last.
func (p *player) nextLabel() {
	wall := noise.NewTimestamp(time.Unix(1_700_000_000, 0).Add(p.now.Sub(epoch) + p.wall))
	want := wall
	if !wall.After(p.label) {
		want = p.label.Next()
	}
	if got := p.m.Stamp(wall); got != want || p.m.LastStamp() != want {
		p.failf("label %x, want %x", got, want)
	}
	p.label = want
}
