// Package session is one peer's side of WireGuard: the handshake, the three key
// slots and the five timers, folded into one deadline. It does no I/O, starts
// no goroutine, takes no lock and reads no clock. A Machine has one owner.
package session

import (
	"time"

	"culvert/internal/clock"
	"culvert/noise"
)

// Time is an instant on the boot-time clock.
type Time = clock.Time

// Reason says why a message is sent or something is given up; for logs.
type Reason uint8

// Activity is what the data path has noted of a peer since it was last looked
// at. The data path only writes these; see the five timers in doc.go.
type Activity struct {
	// UnansweredSince is when data was first sent with nothing authenticated
	// received since; zero if nothing is unanswered. (T3)
	UnansweredSince Time
	// UnackedSince is when data was first received with nothing sent since;
	// zero if all is acknowledged. (T2)
	UnackedSince Time
	// MoreUnacked is set when more data came after UnackedSince was set. (T2)
	MoreUnacked bool
	// LastTraffic is the last authenticated send or receive. (T5)
	LastTraffic Time
}

// Actions is what the owner has to do after a call, in the order of the
// fields. The caller resets it (*out = Actions{}) before each call; zero
// fields ask for nothing.
type Actions struct {
	// Forget are the receiver indices (handshakes and keypairs) that no longer
	// lead here; their secrets are retired: the owner wipes them once nothing in flight
	// uses them. ForgetN of them.
	Forget  [4]uint32
	ForgetN int

	// DropHandshake: the pending handshake (index in Forget) was retired.

	// Install is a new keypair: from now on receive with it, under its LocalIndex.
	Install *noise.Keypair

	// SetSendKey: data is sent with SendKey from now on; nil: there is no usable key.
	SetSendKey bool
	SendKey    *noise.Keypair

	// HandshakeComplete: a session is confirmed; note the wall clock for wg(8).
	HandshakeComplete bool

	// ForgetSource: forget the sticky source of the endpoint (T1, T3).
	ForgetSource bool

	// Initiate: build an initiation (noise.CreateInitiation, labelled with what
	// Stamp gives), then call Initiated or InitiationFailed.
	Initiate       bool
	InitiateReason Reason
	Attempt        int // 1 for the first of a series

	// Respond: build the response to the accepted initiation (noise.CreateResponse), then call Responded.
	Respond bool

	// SendInitiation / SendResponse: the message that was built now goes out.
	SendHandshake bool

	// DropStaged: what is staged is dropped, for GaveUp or Cleared.
	DropStaged       bool
	DropStagedReason Reason

	// Flush: send what is staged with the send key; if nothing is staged and
	// Keepalive is set, send a keepalive instead.
	Flush           bool
	Keepalive       bool
	KeepaliveReason Reason

	// RearmKeepalive: after the keepalive has gone, set UnackedSince to now and
	// MoreUnacked to false (T2, "one more is needed").
	RearmKeepalive bool
	// ClearUnacked: T2 is cancelled: UnackedSince=0, MoreUnacked=false.
	ClearUnacked bool
	// ClearUnanswered: T3 has fired or is cancelled: UnansweredSince=0.
	ClearUnanswered bool

	// Note is for the log: something the user may want to know (gave up,
	// old timestamp...), 0 for nothing.
	Note Reason
}

// Rand is the randomness a Machine needs; shared by all machines of a device.
type Rand struct {
	Jitter func() time.Duration // 0..333 ms, drawn when a timer that has jitter is armed
}

// Machine is one peer's session. The zero value is not usable: see New. It is
// a value: embed it, do not copy it once used.
type Machine struct{ rand *Rand }

// New makes the machine of a peer that has no session.
func New(r *Rand) Machine { return Machine{rand: r} }

// Errors of events. An error changes nothing.
// ErrOldTimestamp (replay or a clock gone back), ErrTooSoon (20 ms), ErrStale (not the handshake under way).

// Initiation: an authenticated initiation came. Accepts it (out.Respond, and T3 is cancelled) or errors.
func (m *Machine) Initiation(now Time, in *noise.OpenedInitiation, out *Actions) error { panic("TODO") }

// Responded: the response asked for by out.Respond has been built. kp becomes
// the next slot (Install), the response goes out (SendHandshake), T4 is armed.
func (m *Machine) Responded(now Time, kp *noise.Keypair, out *Actions) { panic("TODO") }

// NeedKeys: packets wait and there is no usable key, or a key wants renewing, or
// the user changed something. No retry: attempts start anew.
func (m *Machine) NeedKeys(now Time, why Reason, out *Actions) { panic("TODO") }

// Initiated: the initiation asked for by out.Initiate has been built; it goes out now (SendHandshake), T1 is armed.
func (m *Machine) Initiated(now Time, local uint32, out *Actions) { panic("TODO") }

// InitiationFailed: it could not be built (low-order key, no private key, no room). T1 goes on as if it was lost.
func (m *Machine) InitiationFailed(now Time, out *Actions) { panic("TODO") }

// Response: the response to handshake local was authenticated; kp are its keys.
func (m *Machine) Response(now Time, local uint32, kp *noise.Keypair, out *Actions) error {
	panic("TODO")
}

// Confirmed: the first authenticated transport message came on the keypair local. Spurious calls change nothing.
func (m *Machine) Confirmed(now Time, local uint32, out *Actions) { panic("TODO") }

// Advance does what is due. An early call changes nothing. Afterwards Deadline() > now.
func (m *Machine) Advance(now Time, a Activity, out *Actions) { panic("TODO") }

// Deadline is when Advance is to be called at the latest; false: never. While a
// session lives it is never more than 10 s off, so traffic need not arm anything.
func (m *Machine) Deadline() (Time, bool) { panic("TODO") }

// SetPersistentKeepalive: 0 is off. 0 -> N while up sends one now.
func (m *Machine) SetPersistentKeepalive(now Time, interval time.Duration, up bool, out *Actions) {
	panic("TODO")
}

// EndpointChanged: the user gave an existing peer another endpoint: without a live session a handshake starts at once,
// also within REKEY_TIMEOUT of the last initiation, which went elsewhere.
func (m *Machine) EndpointChanged(now Time, out *Actions) { panic("TODO") }

// Up: the interface came up: staged packets (Flush, if staged) and, with a persistent keepalive, one keepalive go.
func (m *Machine) Up(now Time, staged bool, out *Actions) { panic("TODO") }

// Expire: the private key changed. The handshake is gone and no key sends any more; what is in flight may still arrive.
func (m *Machine) Expire(now Time, out *Actions) { panic("TODO") }

// Clear: interface down or peer removed. Handshake, keypairs, timers, staged packets are gone; what persists: last timestamp received and sent, persistent keepalive interval.
func (m *Machine) Clear(out *Actions) { panic("TODO") }

// Stamp gives the TAI64N label for the next initiation: the later of wall and the least label after the last one given.
func (m *Machine) Stamp(wall noise.Timestamp) noise.Timestamp { panic("TODO") }
