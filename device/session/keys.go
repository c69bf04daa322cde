package session

import (
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// slot is a place for a keypair; kp is nil if it is empty.
type slot struct {
	kp    *noise.Keypair
	birth Time // when it was derived
	mute  bool // it never sends: the private key has changed since
	asked bool // its renewal has been asked for
	fresh bool // we are the responder, and nothing has come with it yet
	heard bool // the other side began to send with it when it was previous
}

// keys is what a peer with a session has: the key slots, and the timers that
// only run with a session.
type keys struct {
	current, previous, next slot

	sendUntil Time // the send key is current, until then; Never: there is none

	look     Time // when to look at the Activity next
	lookTill Time // the last look: the youngest key is dead and nothing new can come

	keepalive  Time // T2, as far as known
	noReply    Time // T3, as far as known, with its jitter
	noReplyFor Time // the UnansweredSince that noReply was drawn for
}

// live reports whether there is a key to send with.
func (m *Machine) live(now Time) bool { return m.keys != nil && now < m.keys.sendUntil }

// Previous is our index of the key in slot previous, which goes when next is confirmed; false if there is none.
func (m *Machine) Previous() (local uint32, ok bool) {
	if m.keys == nil || m.keys.previous.kp == nil {
		return 0, false
	}
	return m.keys.previous.kp.LocalIndex, true
}

// slots gives the key slots, to put a key into that is derived now. A look
// at the Activity is due within KeepaliveTimeout from then on.
func (m *Machine) slots(now Time) *keys {
	if m.keys == nil {
		m.keys = &keys{}
	}
	k := m.keys
	if k.look.IsZero() {
		k.look = now.Add(timers.KeepaliveTimeout)
	}
	// A batch that was under way when the key died may note something after it.
	k.lookTill = timers.RejectAt(now).Add(timers.KeepaliveTimeout)
	return k
}

// addInitiator: a response came. What the other side may be sending with becomes
// previous: the unconfirmed next; or, after two handshakes at once, what is previous
// already, as long as it lives; else current.
func (k *keys) addInitiator(now Time, kp *noise.Keypair, out *Actions) {
	switch {
	case k.next.kp != nil:
		k.previous.retire(out)
		k.previous, k.next = k.next, slot{}
		k.current.retire(out)
	case k.previous.heard && now < timers.RejectAt(k.previous.birth):
		k.previous.heard = false // from now on the other side sends with kp
		k.current.retire(out)
	default:
		k.previous.retire(out)
		k.previous = k.current
	}
	k.current = slot{kp: kp, birth: now}
	k.publish(out)
}

// addResponder: our response goes out. The key waits in next; previous makes
// room for what current will be only when that is confirmed: the other side may be
// sending with it until our response is there.
func (k *keys) addResponder(now Time, kp *noise.Keypair, out *Actions) {
	k.next.retire(out)
	k.next = slot{kp: kp, birth: now, fresh: true}
}

// confirm: the other side has used next. False if local is not next, or next
// is dead.
func (k *keys) confirm(now Time, local uint32, out *Actions) bool {
	if p := &k.previous; p.fresh && p.kp.LocalIndex == local {
		p.fresh, p.heard = false, true
	}
	if k.next.kp == nil || k.next.kp.LocalIndex != local || now >= timers.RejectAt(k.next.birth) {
		return false
	}
	k.previous.retire(out)
	k.previous, k.current, k.next = k.current, k.next, slot{}
	k.current.fresh = false
	k.publish(out)
	return !k.current.mute
}

// publish makes current the send key.
func (k *keys) publish(out *Actions) {
	if k.current.mute {
		k.withdraw(out)
		return
	}
	k.sendUntil = timers.RejectAt(k.current.birth)
	out.setSendKey(k.current.kp)
}

// withdraw takes the send key away.
func (k *keys) withdraw(out *Actions) {
	if !k.sendUntil.IsZero() {
		k.sendUntil = clock.Never
		out.setSendKey(nil)
	}
}

// expire: no key sends any more.
func (k *keys) expire(out *Actions) {
	k.current.mute, k.next.mute = true, true
	k.withdraw(out)
}

// retire empties the slot.
func (s *slot) retire(out *Actions) {
	if s.kp != nil {
		out.forget(s.kp.LocalIndex)
		*s = slot{}
	}
}

// wantsRenewal reports whether current is to be renewed because of its age,
// once per key. The data path knows the age; what is to be found out here is
// whether it meant an older key. So the age need not be exact, and a "now"
// that is a little behind the data path's does not lose the only request for
// this key.
func (m *Machine) wantsRenewal(now Time, why Reason) bool {
	if m.keys == nil || m.keys.current.kp == nil {
		return false
	}
	s, after := &m.keys.current, timers.RekeyAfterTime
	if why == RekeyReceiving {
		after = timers.RekeyOnReceiveAfter
	}
	if !s.kp.Initiator || s.asked || now.Sub(s.birth) < after-timers.RekeyTimeout {
		return false
	}
	s.asked = true
	return true
}

// zeroKeys retires the handshake and every keypair, and with them the notes of
// T2 and T3: what a dead session owes or is owed is not the next one's.
func (m *Machine) zeroKeys(out *Actions) {
	out.ClearUnacked, out.ClearUnanswered = true, true
	m.retireHandshake(out)
	m.zero = clock.Never
	if k := m.keys; k != nil {
		k.withdraw(out)
		k.current.retire(out)
		k.previous.retire(out)
		k.next.retire(out)
		m.keys = nil
	}
}
