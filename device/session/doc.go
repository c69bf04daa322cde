// Package session is one peer's side of WireGuard: the handshake, the three key
// slots and the five timers, folded into one deadline. It does no I/O, starts
// no goroutine, takes no lock and reads no clock. A Machine has one owner.
//
// # The five timers in words
//
// Numbers are in package timers; all times are boot time, which runs through
// suspend.
//
// T1, retransmit handshake. Armed when an initiation goes out, for 5 s and
// jitter. A response, or the confirmation of a session the other side began,
// cancels it. When it is due, the initiation or its answer was lost: forget the
// source address (the route may have changed) and initiate again. After 20
// initiations in a row give up: cancel T2, drop what is staged, and arm T4 if
// it is not, so that the secrets of the last attempt go too. A request that is
// no retry (new data, a persistent keepalive, ...) starts the count anew.
//
// T2, passive keepalive. Runs from the first data received since we last sent
// anything authentic, for 10 s. Then the other side gets a keepalive, so that
// its T3 learns its data arrived. If still more data came while T2 ran, it is
// armed once more. A keepalive received never arms it, else two idle peers
// would answer each other for ever.
//
// T3, new handshake. Runs from the first data sent since we last received
// anything authentic, for 15 s and jitter: T2 of the other side and a
// round trip. Then the session is taken for dead: forget the source address
// and initiate.
//
// T4, zero key material. Armed when a session is derived, for 540 s. Then the
// handshake and all keypairs are wiped.
//
// T5, persistent keepalive. Runs from the last authentic message sent or
// received, for the interval the user set and a jitter of up to a 32nd of it, at
// most a second, drawn whenever it fires: peers that met in the same second would
// else be silent, and send, in the same tick for ever. Within what the jitter may be it is
// at a multiple of half a second (Rand.Slot), so that those of many peers cost one wake-up,
// unless too many are. It is late and never early;
// users choose the interval with room (25 s for NATs that forget after 30). Then a
// keepalive is sent, or if there is no key to send it with, a handshake begins.
//
// Besides: the initiator of a key renews it when it sends and the key is 120 s old,
// and a jitter of less than 5 s that the data path draws for each key: sessions of
// the same second are renewed over several. RekeyReceiving, at 165 s, has none: when
// it comes about is up to what the other side sends. A key is dead 180 s after it was derived. If it has not been renewed
// by then, the owner is told to send with it no more (SetSendKey).
//
// # Who arms T2, T3 and T5
//
// Nobody. The data path only notes since when data is unanswered and
// unacknowledged and when traffic last was (Activity), a few stores per
// batch. While there is a session, the machine asks to be looked at every 10
// s, learns from these notes which rules run, and names their exact
// deadlines. No rule is shorter than 10 s but a persistent keepalive, whose
// deadline only moves away while there is traffic; so none is missed, and
// steady traffic never touches a timer.
//
// # Key slots
//
//	current   data is sent with it, if it is not yet 180 s old
//	previous  still receives what was on the way when current came
//	next      derived as the responder, waits for its first authentic packet
//
//	response came:   previous = next, or current if there is no next, but stays if
//	                 the other side began to send with it when it was previous, and
//	                 it is not yet 180 s old
//	                 current = new; next = none
//	response sent:   next = new
//	next confirmed:  previous = current; current = next; next = none
//
// What falls out is retired: its index is in Actions.Forget, exactly once.
//
// # Where the kernel does otherwise
//
//   - An initiation of ours that is on the way is not given up when one of the
//     other side is accepted, but when the other side's session is confirmed.
//     The kernel has room for one handshake per peer, so two that begin at
//     once both wait for T1; here both succeed at once.
//   - After two handshakes at once (above) each side sends with the key of its own,
//     which is previous at the other. So previous stays until the other side is known to
//     have the new key: when a response goes out, which has the kernel drop it at once,
//     and when a response comes. What is on its way would be lost at the first renewal.
//     If both renew at once again it still is, and if a next that was never confirmed
//     takes the place of current, as in the kernel: it would take a fourth slot.
//   - A request within REKEY_TIMEOUT of the last handshake message that no
//     retry will serve (a responder whose session was never confirmed) is
//     remembered and served when that time is over; the kernel waits for the
//     next packet. Likewise T1 is put off, not lost, if a response went out
//     meanwhile.
//   - A new endpoint without a live session starts a handshake at once.
//   - The send key is withdrawn when it dies, not only at T4, so that nothing
//     depends on each sender's own look at its age.
//
// # Calling contract
//
//   - One owner makes all calls, one at a time. now never goes back.
//   - Before each call *out is the zero Actions; after it the owner does what
//     it says, in the order of its fields.
//   - Initiate is answered with exactly one of Initiated and
//     InitiationFailed, Respond with Responded, or not at all if the response
//     could not be built. Other events may come in between. If the result is
//     no longer wanted (the interface went down, the other side was faster; see
//     Initiating),
//     its index comes back in Forget and SendHandshake is not set. Results of
//     builds that began before Expire are best dropped by the owner: the
//     machine cannot tell them from later ones.
//   - After each call Deadline may be another one. Advance is called at the
//     deadline or later, never mind how much later; too early or too often
//     does no harm.
//   - An error changes neither the machine nor *out; the caller keeps what it
//     passed.
//   - Secrets are not looked at and not wiped here: the owner wipes what is
//     in Forget.
package session
