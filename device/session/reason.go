package session

import "strconv"

// Reason says why a message is sent or something is given up; for logs. The
// zero value is no reason.
type Reason uint8

const (
	None Reason = iota

	// Reasons to initiate. DataWaits: packets are staged and there is no
	// usable key.
	DataWaits
	RekeySending        // our key is 120 s old, and its jitter, and sends
	RekeyReceiving      // our key is 165 s old and receives
	RekeyMessages       // a key has sent RekeyAfterMessages
	NoReply             // T3: data unanswered for 15 s
	Retransmit          // T1: no response for 5 s
	EndpointChanged     // the user gave another endpoint
	InterfaceUp         // packets or a persistent keepalive waited for the interface
	ConfigChanged       // the user changed something else
	PersistentKeepalive // T5; also a reason for a keepalive
	PassiveKeepalive    // T2; also a reason for a keepalive

	// ConfirmSession is why the initiator sends at once: the responder waits
	// for it.
	ConfirmSession

	// GaveUp: 20 initiations without a response.
	GaveUp
	// Cleared: the interface went down or the peer was removed.
	Cleared
	// ZeroedKeys: T4.
	ZeroedKeys

	reasons
)

var reasonNames = [reasons]string{
	None:                "none",
	DataWaits:           "data waits and there is no key",
	RekeySending:        "key wants renewing (sending)",
	RekeyReceiving:      "key wants renewing (receiving)",
	RekeyMessages:       "key wants renewing (messages)",
	NoReply:             "no reply for 15 s",
	Retransmit:          "no response for 5 s",
	EndpointChanged:     "endpoint changed",
	InterfaceUp:         "interface came up",
	ConfigChanged:       "configuration changed",
	PersistentKeepalive: "persistent keepalive",
	PassiveKeepalive:    "passive keepalive",
	ConfirmSession:      "confirms the session",
	GaveUp:              "gave up after 20 initiations",
	Cleared:             "cleared",
	ZeroedKeys:          "no session for 540 s, keys wiped",
}

// String is the reason in words.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "reason " + strconv.Itoa(int(r))
}
