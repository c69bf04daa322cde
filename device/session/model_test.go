package session

import "time"

// The model is a second opinion on a Machine: what the paper (sections 5.4 and 6)
// and the required behaviour say of one peer, written down without a look at how
// the machine does it. Where a Machine keeps two notes and looks at them, and
// folds its timers into one deadline, the model has five timers and says of each
// in which span of time it fires.
//
// A player (model_player_test.go) lets both see the same events. After each, what
// the machine did must be what the model says, in both directions: all of it and
// nothing else (outcome, facts). What jitter leaves open is followed as a set of
// models, one for each thing that may have happened; the machine is wrong when
// none is left. A model in which a timer should have fired and has not is
// dropped, so being late is as wrong as being early.
//
// Choices that the paper leaves open are those of doc.go, "Where the kernel does
// otherwise". Timers that are due at once, after a suspend, count in this order:
// what ends things (T4, T1), what is missing (T3), what we owe (T2, T5).

// The numbers of the paper's section 6.1 and of Linux' messages.h, once more: a
// wrong one in package timers is to be seen.
const (
	specRekeyTimeout  = 5 * time.Second
	specKeepalive     = 10 * time.Second
	specNewHandshake  = 15 * time.Second
	specRekeySend     = 120 * time.Second
	specRekeyReceive  = 165 * time.Second
	specReject        = 180 * time.Second
	specZero          = 540 * time.Second
	specJitter        = 333 * time.Millisecond
	specRekeyJitter   = 5 * time.Second
	specTries         = 20
	specFloodGap      = 20 * time.Millisecond
	specCookie        = 115 * time.Second
	specRekeyMessages = uint64(1) << 60
	specRejectCounter = ^uint64(0) - 8128 - 1
)

// model is one peer as the paper sees it. It is a value, so that models can be
// compared.
type model struct {
	up bool

	// Handshakes.
	waiting   uint32 // our initiation that has no response yet, by our index; 0: none
	building  bool   // an initiation is being built
	answering uint32 // the initiation that is being answered, by the other side's index
	stamp     int    // of the last initiation accepted
	accepted  Time   // when that was
	lastSent  Time   // the last handshake message of ours; 0: the next need not wait
	retries   int    // since somebody wanted a handshake
	wanted    Reason // by whom, if it has to wait and no retry will come

	// The five timers; zero is not armed.
	t1     Time // the initiation that T1 waits for went out then
	t2     Time // data came then and nothing was sent since
	t2more bool // and more data after that
	t3     Time // data went out then and nothing came since
	t4     Time // the secrets go then
	t5     Time // the last traffic, or T5 itself
	every  time.Duration

	current, previous, next modelKey

	staged int // packets that wait for a key

	cookie    Time // when the cookie came
	cookieDue bool // a reply to our last handshake message would be taken
}

// modelKey is a key slot; index 0 is empty.
type modelKey struct {
	index     uint32
	born      Time
	initiator bool
	mute      bool // made with another private key: receives only
	asked     bool // was renewed for its age, or tried to
	spent     bool // its counter has run out
	fresh     bool // answered with, and nothing has come on it yet
	heard     bool // something came for the first time when it was previous
}

// outcome is what an event leads to at once.
type outcome struct {
	err          error
	initiate     int // which of the series; 0: none
	why          Reason
	respond      bool
	handshake    bool // a handshake message goes out
	mac2         bool // with a cookie
	complete     bool
	forgetSource bool
	dropped      int // staged packets
	data         int // packets sent
	keepalive    Reason
	note         Reason
}

// facts are what can be seen between events.
type facts struct {
	indices  [4]uint32 // that lead here: handshake and keypairs, in order
	send     uint32    // the key that data is sent with
	unacked  Time
	more     bool
	unanswer Time
	staged   int
}

// live reports whether there is a key to send with.
func (m *model) live(now Time) bool {
	k := m.current
	return k.index != 0 && !k.mute && now < k.born.Add(specReject)
}

// session reports whether there are keys at all.
func (m *model) session() bool { return m.current.index|m.previous.index|m.next.index != 0 }

// send and got are what the paper calls traversal: any authenticated packet.
func (m *model) send(now Time, data bool) {
	m.t2, m.t2more = 0, false
	if data && m.t3 == 0 {
		m.t3 = now
	}
	m.t5 = now
}

func (m *model) got(now Time, data bool) {
	m.t3 = 0
	switch {
	case data && m.t2 == 0:
		m.t2 = now
	case data:
		m.t2more = true
	}
	m.t5 = now
}

// flush sends what waits, or else a keepalive if there is a reason for one. A key
// whose counter has run out sends nothing.
func (m *model) flush(now Time, why Reason, o *outcome) {
	if m.current.spent {
		return
	}
	switch {
	case m.staged > 0:
		o.data += m.staged
		m.staged = 0
		m.send(now, true)
	case why != None && o.keepalive == None && o.data == 0:
		o.keepalive = why
		m.send(now, false)
	}
}

// keepalive sends one, or without a key wants one.
func (m *model) keepalive(now Time, why Reason, o *outcome) {
	if m.live(now) {
		m.flush(now, why, o)
	} else {
		m.request(now, why, o)
	}
}

// request is a wish for a handshake that is no retry.
func (m *model) request(now Time, why Reason, o *outcome) {
	m.retries = 0
	switch {
	case m.building:
	case m.lastSent == 0 || now >= m.lastSent.Add(specRekeyTimeout):
		m.initiate(why, o)
	case m.t1 == 0:
		m.wanted = why
	}
}

func (m *model) initiate(why Reason, o *outcome) {
	m.building, m.t1, m.wanted = true, 0, None
	o.initiate, o.why = m.retries+1, why
}

// out is a handshake message that goes out; it has a mac2 while there is a cookie.
func (m *model) out(now Time, o *outcome) {
	m.lastSent = now
	m.send(now, false)
	o.handshake = true
	o.mac2 = m.cookie != 0 && now < m.cookie.Add(specCookie)
	m.cookieDue = true
}

// complete is a confirmed session.
func (m *model) complete(o *outcome) {
	m.t1, m.retries, m.wanted, m.building = 0, 0, None, false
	o.complete = true
}
