package session

import (
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// Initiation: an authenticated initiation came. Accepts it (out.Respond, and
// T3 is cancelled) or errors: ErrOldTimestamp, ErrTooSoon.
func (m *Machine) Initiation(now Time, in *noise.OpenedInitiation, out *Actions) error {
	if !in.Timestamp.After(m.stampReceived) {
		return ErrOldTimestamp
	}
	if !m.lastAccepted.IsZero() && now.Sub(m.lastAccepted) < minInitiationInterval {
		return ErrTooSoon
	}
	m.stampReceived = in.Timestamp
	m.lastAccepted = now
	m.respondTo = in.RemoteIndex
	m.responding = true
	out.Respond = true
	m.received(now, out)
	return nil
}

// Responded: the response asked for by out.Respond has been built. kp becomes
// the next slot (Install), the response goes out (SendHandshake), T4 is armed.
// A response to an initiation that is no longer the last one accepted is
// in Forget instead.
func (m *Machine) Responded(now Time, kp *noise.Keypair, out *Actions) {
	if !m.responding || kp.RemoteIndex != m.respondTo {
		out.forget(kp.LocalIndex)
		return
	}
	m.responding = false
	m.slots(now).addResponder(now, kp, out)
	out.Install = kp
	m.zero = timers.ZeroKeysAt(now)
	m.sent(now, out)
}

// Initiated: the initiation asked for by out.Initiate has been built; it goes
// out now (SendHandshake), T1 is armed. If it is no longer wanted, its index
// is in Forget instead.
func (m *Machine) Initiated(now Time, local uint32, out *Actions) {
	if !m.building {
		out.forget(local)
		return
	}
	m.building = false
	m.retireHandshake(out)
	m.pending, m.hasPending = local, true
	m.armRetransmit(now)
	m.sent(now, out)
}

// InitiationFailed: it could not be built (low-order key, no private key, no
// room). T1 goes on as if it was lost.
func (m *Machine) InitiationFailed(now Time, out *Actions) {
	if !m.building {
		return
	}
	m.building = false
	m.lastSent = now
	m.armRetransmit(now)
}

// Response: the response to handshake local was authenticated; kp are its
// keys, kp.LocalIndex is local. They become current, and what is staged or
// else a keepalive goes at once, for the other side waits for it. ErrStale if
// local is not under way.
func (m *Machine) Response(now Time, local uint32, kp *noise.Keypair, out *Actions) error {
	if !m.hasPending || m.pending != local {
		return ErrStale
	}
	m.hasPending, m.pending = false, 0 // the index lives on in kp
	m.slots(now).addInitiator(now, kp, out)
	out.Install = kp
	m.zero = timers.ZeroKeysAt(now)
	m.received(now, out)
	m.complete(now, out)
	out.flush(ConfirmSession)
	return nil
}

// Confirmed: the first authenticated transport message came on the keypair
// local. Spurious calls change nothing.
func (m *Machine) Confirmed(now Time, local uint32, out *Actions) {
	if m.keys == nil || !m.keys.confirm(now, local, out) {
		return
	}
	m.retireHandshake(out)
	m.complete(now, out)
	out.flush(None)
}

// complete ends the series of initiations: there is a session.
func (m *Machine) complete(now Time, out *Actions) {
	m.retransmit = clock.Never
	m.attempts = 0
	m.wanted = None
	m.building = false // what is being built is not wanted any more
	out.HandshakeComplete = true
}

// sent: a handshake message goes out, which acknowledges as any other does.
func (m *Machine) sent(now Time, out *Actions) {
	m.lastSent = now
	m.traffic = now
	out.SendHandshake = true
	m.cancelKeepalive(out)
}

// received: an authentic handshake message came, which answers as any other does.
func (m *Machine) received(now Time, out *Actions) {
	m.traffic = now
	out.ClearUnanswered = true
	if m.keys != nil {
		m.keys.noReply, m.keys.noReplyFor = clock.Never, clock.Never
	}
}

// request is a wish for a handshake that is no retry.
func (m *Machine) request(now Time, why Reason, out *Actions) {
	m.attempts = 0
	switch {
	case m.building:
	case m.mayInitiate(now):
		m.initiate(why, out)
	case m.retransmit.IsZero(): // no retry will serve it
		m.wanted = why
	}
}

// mayInitiate is REKEY_TIMEOUT: as in the kernel a response sent counts too.
func (m *Machine) mayInitiate(now Time) bool { return timers.MayInitiateAt(m.lastSent) <= now }

// initiate asks for an initiation. T1 runs again once it is built.
func (m *Machine) initiate(why Reason, out *Actions) {
	m.building = true
	m.retransmit = clock.Never
	m.wanted = None
	out.Initiate, out.InitiateReason = true, why
	out.Attempt = int(m.attempts) + 1
}

// retireHandshake forgets the initiation that waits for its response.
func (m *Machine) retireHandshake(out *Actions) {
	if m.hasPending {
		out.forget(m.pending)
		m.hasPending, m.pending = false, 0
	}
}

// Stamp gives the TAI64N label for the next initiation: the later of wall and
// the least label after the last one given. So a wall clock that went back
// does not lock us out at the other side.
func (m *Machine) Stamp(wall noise.Timestamp) noise.Timestamp {
	if !wall.After(m.stampSent) {
		wall = m.stampSent.Next()
	}
	m.stampSent = wall
	return wall
}

// LastStamp is the last label Stamp gave, or was told to go on from; zero if none. For tests.
func (m *Machine) LastStamp() noise.Timestamp { return m.stampSent }

// RestoreStamp makes Stamp give labels after last only: of an earlier run, or of a peer that was removed.
func (m *Machine) RestoreStamp(last noise.Timestamp) {
	if last.After(m.stampSent) {
		m.stampSent = last
	}
}
