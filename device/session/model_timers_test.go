package session

import (
	"fmt"
	"slices"
	"time"
)

// span is when a timer fires: not before from, at the latest at to. The zero span
// is never.
type span struct{ from, to Time }

func after(t Time, least, more time.Duration) span {
	if t == 0 {
		return span{}
	}
	return span{t.Add(least), t.Add(least + more)}
}

// may and must say whether it can, or has to, have fired by now.
func (s span) may(now Time) bool  { return s.to != 0 && s.from <= now }
func (s span) must(now Time) bool { return s.to != 0 && s.to <= now }

// The five timers, and the wish that waits for REKEY_TIMEOUT.
func (m *model) timer1() span { return after(m.t1, specRekeyTimeout, specJitter) }
func (m *model) timer2() span { return after(m.t2, specKeepalive, 0) }
func (m *model) timer3() span { return after(m.t3, specNewHandshake, specJitter) }
func (m *model) timer4() span { return after(m.t4, 0, 0) }
func (m *model) timer5() span {
	if m.every == 0 {
		return span{}
	}
	return after(m.t5, m.every, min(m.every/32, time.Second)*255/256)
}
func (m *model) wish() span {
	if m.wanted == None || m.t1 != 0 || m.building {
		return span{}
	}
	return after(m.lastSent, specRekeyTimeout, 0)
}

// timers are all of them by name.
func (m *model) timers() []namedSpan {
	return []namedSpan{
		{"T4 (zero keys)", m.timer4()}, {"T1 (retransmit)", m.timer1()}, {"T3 (new handshake)", m.timer3()},
		{"T2 (keepalive)", m.timer2()}, {"T5 (persistent keepalive)", m.timer5()}, {"a wish", m.wish()},
	}
}

type namedSpan struct {
	name string
	span
}

// overdue names a timer that should have fired before now; "": none.
func (m *model) overdue(now Time) string {
	if !m.up {
		return ""
	}
	for _, t := range m.timers() {
		if t.to != 0 && t.to < now {
			return fmt.Sprintf("%s should have fired at %v", t.name, t.to.Sub(epoch))
		}
	}
	return ""
}

// choice says which timers with jitter have fired.
type choice struct{ t1, t3, t5 bool }

// choices are those that now leaves open.
func (m *model) choices(now Time) (all []choice) {
	open := func(s span) []bool {
		switch {
		case s.must(now):
			return []bool{true}
		case s.may(now):
			return []bool{true, false}
		}
		return []bool{false}
	}
	for _, a := range open(m.timer1()) {
		for _, b := range open(m.timer3()) {
			for _, c := range open(m.timer5()) {
				all = append(all, choice{a, b, c})
			}
		}
	}
	return all
}

// fire lets all timers fire that are due, and of those with jitter those chosen.
func (m *model) fire(now Time, c choice, o *outcome) {
	if m.timer4().must(now) {
		m.waiting, m.t4, m.t2, m.t2more, m.t3 = 0, 0, 0, false, 0
		m.current, m.previous, m.next = modelKey{}, modelKey{}, modelKey{}
		o.note = ZeroedKeys
	}
	if c.t1 {
		m.retransmit(now, o)
	}
	if c.t3 && m.t3 != 0 {
		m.t3 = 0
		o.forgetSource = true
		m.request(now, NoReply, o)
	}
	if m.timer2().must(now) {
		again := m.t2more && m.live(now)
		m.t2, m.t2more = 0, false
		m.keepalive(now, PassiveKeepalive, o)
		if again {
			m.t2 = now
		}
	}
	if c.t5 {
		m.t5 = now
		m.keepalive(now, PersistentKeepalive, o)
	}
	if m.wish().must(now) {
		m.request(now, m.wanted, o)
	}
}

// retransmit is T1. If a response went out meanwhile it starts over from there.
func (m *model) retransmit(now Time, o *outcome) {
	switch {
	case m.lastSent != 0 && now < m.lastSent.Add(specRekeyTimeout):
		m.t1 = m.lastSent
	case m.retries+1 == specTries:
		m.t1, m.t2, m.t2more = 0, 0, false
		o.dropped += m.staged
		m.staged = 0
		o.note = GaveUp
		if m.t4 == 0 && (m.waiting != 0 || m.session()) {
			m.t4 = now.Add(specZero)
		}
	default:
		m.retries++
		o.forgetSource = true
		m.initiate(Retransmit, o)
	}
}

// facts are what the model says can be seen.
func (m *model) facts(now Time) (f facts) {
	f.indices = [4]uint32{m.waiting, m.current.index, m.previous.index, m.next.index}
	slices.Sort(f.indices[:])
	if m.live(now) {
		f.send = m.current.index
	}
	f.unacked, f.more, f.unanswer, f.staged = m.t2, m.t2more, m.t3, m.staged
	return f
}

// disputed reports whether the current key is so close to its renewal that a request
// for it may be heard or not: who asks may have read another clock, or mean an older
// key. After it no less than REKEY_TIMEOUT is left to the time when it must.
func (m *model) disputed(now Time, why Reason) bool {
	age := map[Reason]time.Duration{RekeySending: specRekeySend, RekeyReceiving: specRekeyReceive}[why]
	k := m.current
	return age > 0 && k.index != 0 && now >= k.born.Add(age-specRekeyTimeout) && now < k.born.Add(age)
}

// edges are times at which something changes, for a player that wants to be there.
func (m *model) edges() (all []Time) {
	for _, t := range m.timers() {
		if t.to != 0 {
			all = append(all, t.from, t.to)
		}
	}
	for _, k := range []modelKey{m.current, m.previous, m.next} {
		if k.index != 0 {
			all = append(all, k.born.Add(specRekeySend), k.born.Add(specRekeyReceive), k.born.Add(specReject-specRekeyTimeout), k.born.Add(specReject))
		}
	}
	if m.lastSent != 0 {
		all = append(all, m.lastSent.Add(specRekeyTimeout))
	}
	if m.accepted != 0 {
		all = append(all, m.accepted.Add(specFloodGap))
	}
	if m.cookie != 0 {
		all = append(all, m.cookie.Add(specCookie))
	}
	return all
}
