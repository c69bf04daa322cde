package session

import "culvert/noise"

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
	// Forget are the receiver indices (handshakes and keypairs) that no
	// longer lead here; their secrets are retired: the owner wipes them once
	// nothing in flight uses them. ForgetN of them: at most a handshake and
	// three keypairs.
	Forget  [4]uint32
	ForgetN int

	// Install is a new keypair: from now on receive with it, under its
	// LocalIndex. After Response that is the index of the handshake it came
	// from, which is not in Forget: the index now leads to the keypair, and
	// the owner wipes the handshake.
	Install *noise.Keypair

	// SetSendKey: data is sent with SendKey from now on; nil: there is no
	// usable key.
	SetSendKey bool
	SendKey    *noise.Keypair

	// HandshakeComplete: a session is confirmed; note the wall clock for wg(8).
	HandshakeComplete bool

	// ForgetSource: forget the sticky source of the endpoint (T1, T3).
	ForgetSource bool

	// ClearUnacked: T2 is cancelled: UnackedSince=0, MoreUnacked=false.
	ClearUnacked bool
	// ClearUnanswered: T3 has fired or is cancelled: UnansweredSince=0. Both come
	// before anything is sent: what is flushed is unanswered from then on, and
	// what answers a message may be there before its send returns.
	ClearUnanswered bool

	// Initiate: build an initiation (noise.CreateInitiation, labelled with what
	// Stamp gives), then call Initiated or InitiationFailed.
	Initiate       bool
	InitiateReason Reason
	Attempt        int // 1 for the first of a series

	// Respond: build the response to the accepted initiation
	// (noise.CreateResponse), then call Responded.
	Respond bool

	// SendHandshake: the initiation or response that was built now goes out.
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

	// Note is for the log: something the user may want to know (GaveUp,
	// ZeroedKeys), None for nothing.
	Note Reason
}

// forget retires an index.
func (out *Actions) forget(local uint32) {
	out.Forget[out.ForgetN] = local
	out.ForgetN++
}

// flush asks for what is staged, or else for a keepalive if why is not None.
func (out *Actions) flush(why Reason) {
	out.Flush = true
	if why != None && !out.Keepalive {
		out.Keepalive, out.KeepaliveReason = true, why
	}
}

// setSendKey publishes kp, or withdraws the send key.
func (out *Actions) setSendKey(kp *noise.Keypair) { out.SetSendKey, out.SendKey = true, kp }
