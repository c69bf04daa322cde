package session

import (
	"culvert/internal/clock"
	"culvert/timers"
)

// Advance does what is due. An early call changes nothing. Afterwards
// Deadline() > now. It may be arbitrarily late: after a suspend of hours all
// that came due meanwhile is done once, and nothing is sent on a dead key.
func (m *Machine) Advance(now Time, a Activity, out *Actions) {
	if at, ok := m.Deadline(); !ok || now < at {
		return
	}
	m.expireSendKey(now, out)
	if due(m.zero, now) { // T4
		m.zeroKeys(out)
		out.Note = ZeroedKeys
	}
	if due(m.retransmit, now) { // T1
		m.retry(now, out)
	}
	m.noReplyDue(now, a, out)    // T3
	m.keepaliveDue(now, a, out)  // T2
	m.persistentDue(now, a, out) // T5
	if due(m.wantedAt(), now) {
		m.request(now, m.wanted, out)
	}
	m.lookAgain(now)
}

// Deadline is when Advance is to be called at the latest; false: never. While a
// session lives it is never more than 10 s off, so traffic need not arm anything.
func (m *Machine) Deadline() (Time, bool) {
	at := m.retransmit.Min(m.zero).Min(m.persistentAt()).Min(m.wantedAt())
	if k := m.keys; k != nil {
		at = at.Min(k.sendUntil).Min(k.look).Min(k.keepalive).Min(k.noReply)
	}
	return at, !at.IsZero()
}

// due reports whether a timer is armed and its time has come.
func due(at, now Time) bool { return !at.IsZero() && at <= now }

// expireSendKey withdraws a send key that was not renewed in time.
func (m *Machine) expireSendKey(now Time, out *Actions) {
	if m.keys != nil && due(m.keys.sendUntil, now) {
		m.keys.withdraw(out)
	}
}

// armRetransmit arms T1.
func (m *Machine) armRetransmit(now Time) {
	m.retransmit = timers.RetransmitAt(now, m.rand.Jitter())
}

// retry is T1: initiate again or give up.
func (m *Machine) retry(now Time, out *Actions) {
	if !m.mayInitiate(now) { // a response went out meanwhile, put it off
		m.armRetransmit(m.lastSent)
		return
	}
	if m.attempts > timers.MaxTimerHandshakes {
		m.giveUp(now, out)
		return
	}
	m.attempts++
	out.ForgetSource = true
	m.initiate(Retransmit, out)
}

// giveUp ends the series: the other side is not there.
func (m *Machine) giveUp(now Time, out *Actions) {
	m.retransmit = clock.Never
	m.cancelKeepalive(out)
	out.DropStaged, out.DropStagedReason = true, GaveUp
	out.Note = GaveUp
	if m.zero.IsZero() && (m.hasPending || m.keys != nil) {
		m.zero = timers.ZeroKeysAt(now)
	}
}

// cancelKeepalive cancels T2.
func (m *Machine) cancelKeepalive(out *Actions) {
	out.ClearUnacked = true
	if m.keys != nil {
		m.keys.keepalive = clock.Never
	}
}

// noReplyDue is T3. Its jitter is drawn once for each UnansweredSince.
func (m *Machine) noReplyDue(now Time, a Activity, out *Actions) {
	k := m.keys
	if k == nil || a.UnansweredSince.IsZero() {
		if k != nil {
			k.noReply, k.noReplyFor = clock.Never, clock.Never
		}
		return
	}
	if k.noReplyFor != a.UnansweredSince {
		k.noReplyFor = a.UnansweredSince
		k.noReply = timers.NewHandshakeAt(a.UnansweredSince, m.rand.Jitter())
	}
	if !due(k.noReply, now) {
		return
	}
	k.noReply, k.noReplyFor = clock.Never, clock.Never
	out.ClearUnanswered = true
	out.ForgetSource = true
	m.request(now, NoReply, out)
}

// keepaliveDue is T2.
func (m *Machine) keepaliveDue(now Time, a Activity, out *Actions) {
	k := m.keys
	if k == nil || out.ClearUnacked { // giving up has cancelled it
		return
	}
	k.keepalive = timers.KeepaliveAt(a.UnackedSince)
	if !due(k.keepalive, now) {
		return
	}
	if a.MoreUnacked && m.live(now) {
		out.RearmKeepalive = true
		k.keepalive = timers.KeepaliveAt(now)
	} else {
		m.cancelKeepalive(out)
	}
	m.keepalive(now, PassiveKeepalive, out)
}

// persistentDue is T5.
func (m *Machine) persistentDue(now Time, a Activity, out *Actions) {
	m.traffic = max(m.traffic, a.LastTraffic)
	if !due(m.persistentAt(), now) {
		return
	}
	m.armPersistent(now)
	m.keepalive(now, PersistentKeepalive, out)
}

// armPersistent has T5 run from now, with another jitter. Traffic, which puts it off,
// does not draw: the jitter is there to part peers that are silent. Who was one too many
// comes back to the others now and then only: all at once would be too many again.
func (m *Machine) armPersistent(now Time) {
	m.traffic, m.late = now, uint8(m.rand.Jitter()*256/(timers.MaxJitter+1))
	m.alone = m.rand.Crowded || m.alone && m.late >= 64
}

// persistentAt is T5's deadline, as far as known.
func (m *Machine) persistentAt() Time {
	slot := m.rand.Slot
	if m.alone {
		slot = 0
	}
	return timers.PersistentAt(m.traffic, m.persistent, m.late, slot)
}

// keepalive sends one, or if there is no key to send it with, initiates.
func (m *Machine) keepalive(now Time, why Reason, out *Actions) {
	if m.live(now) {
		out.flush(why)
		return
	}
	m.request(now, why, out)
}

// wantedAt is when a request that was put off is served; Never if there is none.
func (m *Machine) wantedAt() Time {
	if m.wanted == None || m.building || !m.retransmit.IsZero() {
		return clock.Never
	}
	return timers.MayInitiateAt(m.lastSent)
}

// lookAgain says when to look at the Activity next.
func (m *Machine) lookAgain(now Time) {
	k := m.keys
	if k == nil || !due(k.look, now) {
		return
	}
	if now >= k.lookTill {
		k.look = clock.Never
		return
	}
	at := now.Add(timers.KeepaliveTimeout)
	if slot := Time(m.rand.Slot); slot > 0 && !m.rand.Crowded {
		at -= at % slot // a little early: it finds what it would, or the next one does
	}
	k.look = min(at, k.lookTill)
}
