package session

import (
	"errors"
	"time"

	"culvert/internal/clock"
	"culvert/noise"
)

// Time is an instant on the boot-time clock.
type Time = clock.Time

// Errors of events. An error changes nothing.
var (
	// ErrOldTimestamp: not newer than the last one accepted. A replay, or the
	// peer's clock went back.
	ErrOldTimestamp = errors.New("initiation has an old timestamp: a replay, or the peer's clock went back")
	// ErrTooSoon: within 20 ms of the last initiation accepted.
	ErrTooSoon = errors.New("initiation comes too soon after the last one")
	// ErrStale: not the handshake that is under way.
	ErrStale = errors.New("response to a handshake that is no longer under way")
)

// minInitiationInterval is the least time between two initiations accepted
// from one peer (Linux: INITIATIONS_PER_SECOND 50).
const minInitiationInterval = time.Second / 50

// Rand is the randomness a Machine needs, and what it shares; one for all machines of a device, whose owner may change it.
type Rand struct {
	Jitter func() time.Duration // 0..333 ms, drawn when a timer that has jitter is armed, and for T5's steps
	// Slot (less than 10 s) is what T5 is due at multiples of, where its jitter allows that, and looks at the
	// Activity, so that many peers are due together; 0: at any time.
	Slot time.Duration
	// Crowded: too many are. The machines that advance while it is set are due apart.
	Crowded bool
}

// Machine is one peer's session. The zero value is not usable: see New. It is a
// value: embed it, do not copy it once used. It has one owner and is not safe
// for concurrent use. It has 104 bytes; key slots, 120 bytes more, are
// allocated with the first keypair and let go with the last.
type Machine struct {
	rand *Rand
	keys *keys // nil: no keypair in any slot

	// Handshakes.
	lastAccepted  Time   // when an initiation was last accepted
	lastSent      Time   // when a handshake message was last sent (REKEY_TIMEOUT)
	pending       uint32 // index of the initiation that waits for its response
	respondTo     uint32 // the other side's index in the initiation being answered
	hasPending    bool
	building      bool   // Initiate was asked, the result is not yet here
	responding    bool   // Respond was asked, the result is not yet here
	attempts      uint8  // retries made in this series
	wanted        Reason // a request that REKEY_TIMEOUT put off and no retry will serve
	late          uint8  // T5's jitter, in steps (timers.PersistentAt)
	alone         bool   // and it is due as that has it, not together with others (Rand.Crowded)
	stampReceived noise.Timestamp
	stampSent     noise.Timestamp

	// Timers; Never when not armed. T2 and T3 need a session: see keys.
	retransmit Time          // T1
	zero       Time          // T4
	persistent time.Duration // T5: the interval, 0 is off
	traffic    Time          // T5 runs from here: last traffic known, or last fired
}

// New makes the machine of a peer that has no session.
func New(r *Rand) Machine { return Machine{rand: r} }

// NeedKeys: packets wait and there is no usable key, or a key wants renewing,
// or the user changed something. No retry: attempts start anew. Call it as
// often as you like: it initiates only if that is not being done and
// REKEY_TIMEOUT has passed since the last handshake message, else it is
// remembered. A RekeySending or RekeyReceiving that came too late (a younger
// key is there) asks for nothing; DataWaits, if a key has come meanwhile, for
// a Flush. For a key whose counter has run out use RekeyMessages.
func (m *Machine) NeedKeys(now Time, why Reason, out *Actions) {
	switch why {
	case DataWaits:
		if m.live(now) {
			out.flush(None)
			return
		}
	case RekeySending, RekeyReceiving:
		if !m.wantsRenewal(now, why) {
			return
		}
	}
	m.request(now, why, out)
}

// Initiating reports whether an initiation was asked for (Initiate) and is still
// wanted. If it is not, it need not be built, and not be answered: an owner that has
// many to build may ask before it begins.
func (m *Machine) Initiating() bool { return m.building }

// EndpointChanged: the user gave an existing peer another endpoint: without a
// live session a handshake starts at once, also within REKEY_TIMEOUT of the
// last initiation, which went elsewhere. What is being built goes to the new
// endpoint; it is the first of a series too, else it could be the last.
func (m *Machine) EndpointChanged(now Time, out *Actions) {
	if m.live(now) {
		return
	}
	m.attempts = 0
	if !m.building {
		m.initiate(EndpointChanged, out)
	}
}

// Up: the interface came up: staged packets (Flush, if staged) and, with a
// persistent keepalive, one keepalive go.
func (m *Machine) Up(now Time, staged bool, out *Actions) {
	if m.persistent > 0 {
		m.armPersistent(now)
		m.keepalive(now, PersistentKeepalive, out)
		return
	}
	if !staged {
		return
	}
	if m.live(now) {
		out.flush(None)
		return
	}
	m.request(now, InterfaceUp, out)
}

// SetPersistentKeepalive: 0 is off. 0 -> N while up sends one now.
func (m *Machine) SetPersistentKeepalive(now Time, interval time.Duration, up bool, out *Actions) {
	wasOff := m.persistent == 0
	m.persistent = interval
	if wasOff && interval > 0 && up {
		m.armPersistent(now)
		m.keepalive(now, PersistentKeepalive, out)
	}
}

// Expire: the private key changed. The handshake is gone and no key sends any
// more; what is in flight may still arrive. T1 goes on, if it runs. The next
// handshake does not wait for REKEY_TIMEOUT.
func (m *Machine) Expire(now Time, out *Actions) {
	m.retireHandshake(out)
	if m.building { // with the old key: as if it was lost
		m.building = false
		m.armRetransmit(now)
	}
	m.responding = false
	m.lastSent = clock.Never
	if m.keys != nil {
		m.keys.expire(out)
	}
	if m.wanted != None {
		m.initiate(m.wanted, out)
	}
}

// Clear: interface down or peer removed. Handshake, keypairs, timers, staged
// packets are gone; what persists: last timestamp received and sent,
// persistent keepalive interval.
func (m *Machine) Clear(out *Actions) {
	m.zeroKeys(out)
	out.DropStaged, out.DropStagedReason = true, Cleared
	*m = Machine{
		rand:          m.rand,
		persistent:    m.persistent,
		lastAccepted:  m.lastAccepted,
		stampReceived: m.stampReceived,
		stampSent:     m.stampSent,
	}
}
