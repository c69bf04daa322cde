package session

import "time"

// The events of a model: what comes from the network, the user and the data path.

// sendData: n packets for the peer; spent is whether the key's counter has run out.
func (m *model) sendData(now Time, n int, o *outcome) {
	o.data += n
	m.send(now, true)
}

// needKeys is the data path's, and the user's. slack is how much younger than it
// should be a key may be that is renewed.
func (m *model) needKeys(now Time, why Reason, slack time.Duration, o *outcome) {
	switch why {
	case DataWaits:
		if m.live(now) {
			m.flush(now, None, o)
			return
		}
	case RekeySending, RekeyReceiving: // time-based: the initiator's, once for each key
		age := specRekeySend
		if why == RekeyReceiving {
			age = specRekeyReceive
		}
		k := &m.current
		if k.index == 0 || !k.initiator || k.asked || now < k.born.Add(age-slack) {
			return
		}
		k.asked = true
	}
	m.request(now, why, o)
}

// built: the initiation asked for is there; index 0: it could not be built, which
// is as if it was lost.
func (m *model) built(now Time, index uint32, o *outcome) {
	if !m.building {
		return // nobody wants it any more
	}
	m.building = false
	m.t1 = now
	if index == 0 {
		m.lastSent = now
		return
	}
	m.waiting = index
	m.out(now, o)
}

// initiation: section 5.1 (replays) and 5.3 (floods).
func (m *model) initiation(now Time, stamp int, remote uint32, o *outcome) {
	switch {
	case stamp <= m.stamp:
		o.err = ErrOldTimestamp
	case m.accepted != 0 && now < m.accepted.Add(specFloodGap):
		o.err = ErrTooSoon
	default:
		m.stamp, m.accepted, m.answering = stamp, now, remote
		o.respond = true
		m.got(now, false)
	}
}

// answered: the response was built, and with it keys that wait to be confirmed. Until
// they are, the other side may be sending with any of those before.
func (m *model) answered(now Time, index, remote uint32, o *outcome) {
	if m.answering != remote {
		return
	}
	m.answering = 0
	m.next = modelKey{index: index, born: now, fresh: true}
	m.t4 = now.Add(specZero)
	m.out(now, o)
}

// response: the initiator may send at once, and does, for the other side waits.
func (m *model) response(now Time, index uint32, o *outcome) {
	if index == 0 || m.waiting != index {
		o.err = ErrStale
		return
	}
	m.waiting = 0
	if m.next.index != 0 {
		m.previous = m.next
	} else if !m.previous.heard || now >= m.previous.born.Add(specReject) {
		m.previous = m.current
	}
	m.previous.heard = false
	m.next = modelKey{}
	m.current = modelKey{index: index, born: now, initiator: true}
	m.t4 = now.Add(specZero)
	m.got(now, false)
	m.complete(o)
	m.flush(now, ConfirmSession, o)
}

// transport: something authentic came on a key. On the next one it confirms that
// the other side has the key, and only now it is sent with.
func (m *model) transport(now Time, index uint32, data bool, o *outcome) {
	m.got(now, data)
	if index == m.previous.index && m.previous.fresh {
		m.previous.fresh, m.previous.heard = false, true
	}
	if index == m.next.index {
		m.next.fresh = false
		m.confirm(now, o)
	}
}

func (m *model) confirm(now Time, o *outcome) {
	m.previous, m.current, m.next = m.current, m.next, modelKey{}
	if m.current.mute {
		return
	}
	m.waiting = 0
	m.complete(o)
	m.flush(now, None, o)
}

// moved: the user gave another endpoint. What has gone to the old one does not
// count; what is being built goes to the new one.
func (m *model) moved(now Time, o *outcome) {
	if m.live(now) {
		return
	}
	m.retries = 0
	if !m.building {
		m.initiate(EndpointChanged, o)
	}
}

// expire: another private key.
func (m *model) expire(now Time, o *outcome) {
	m.waiting, m.answering, m.lastSent = 0, 0, 0
	if m.building {
		m.building, m.t1 = false, now
	}
	m.current.mute, m.next.mute = m.current.index != 0, m.next.index != 0
	if m.wanted != None {
		m.initiate(m.wanted, o)
	}
}

// down: nothing is left but what protects from replays, and the configuration.
func (m *model) down(o *outcome) {
	o.dropped = m.staged
	*m = model{stamp: m.stamp, accepted: m.accepted, every: m.every, cookie: m.cookie, cookieDue: m.cookieDue}
}

func (m *model) raise(now Time, o *outcome) {
	m.up = true
	switch {
	case m.every > 0:
		m.t5 = now
		m.keepalive(now, PersistentKeepalive, o)
	case m.staged > 0 && m.live(now):
		m.flush(now, None, o)
	case m.staged > 0:
		m.request(now, InterfaceUp, o)
	}
}

func (m *model) setPersistent(now Time, every time.Duration, o *outcome) {
	off := m.every == 0
	m.every = every
	if off && every > 0 && m.up {
		m.t5 = now
		m.keepalive(now, PersistentKeepalive, o)
	}
}

// cookieReply: one counts for each message sent.
func (m *model) cookieReply(now Time, ofLast bool) {
	if ofLast && m.cookieDue {
		m.cookie, m.cookieDue = now, false
	}
}
