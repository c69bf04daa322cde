package timers

import (
	"time"

	"culvert/internal/clock"
)

// Time is an instant on the boot-time clock.
type Time = clock.Time

// The protocol's constants (paper, section 6.1; Linux messages.h).
const (
	// RekeyTimeout is the least time between two initiations, and what T1 waits.
	RekeyTimeout = 5 * time.Second
	// RekeyAfterTime is the age at which the initiator of a key renews it
	// when it sends.
	RekeyAfterTime = 120 * time.Second
	// RejectAfterTime is the age from which a key neither sends nor receives.
	RejectAfterTime = 180 * time.Second
	// KeepaliveTimeout is how long received data may go without anything sent
	// (T2).
	KeepaliveTimeout = 10 * time.Second
	// MaxJitter is the largest jitter of T1 and T3; it is drawn from [0,
	// MaxJitter].
	MaxJitter = 333 * time.Millisecond
	// MaxRekeyJitter is how much later than RekeyAfterTime a key may be renewed: so
	// much is drawn per key, so that sessions of the same second are renewed over
	// some. Never earlier, and well before RekeyOnReceiveAfter: with RekeyTimeout
	// there are ten tries left before the key is dead.
	MaxRekeyJitter = 5 * time.Second
	// MaxTimerHandshakes is how many retries may have been made when T1 fires
	// for another one to be made: 90 s / RekeyTimeout.
	MaxTimerHandshakes = 18
	// RekeyAfterMessages is the counter above which a key is renewed when it
	// sends.
	RekeyAfterMessages = 1 << 60
	// RejectAfterMessages is the first counter that is never sent: 2^64 - 1 less
	// the effective replay window (8128), less 1.
	RejectAfterMessages = 1<<64 - 1 - 8128 - 1

	// NewHandshakeTimeout is how long sent data may go unanswered (T3), before
	// jitter: the other side's T2 and a round trip.
	NewHandshakeTimeout = KeepaliveTimeout + RekeyTimeout
	// RekeyOnReceiveAfter is the age at which the initiator of a key renews
	// it when it receives: late enough that sending would have done it
	// (RekeyAfterTime), early enough that the renewal is there before the key
	// is rejected.
	RekeyOnReceiveAfter = RejectAfterTime - KeepaliveTimeout - RekeyTimeout
	// ZeroKeysAfter is how long secrets outlive the last derived session (T4).
	ZeroKeysAfter = 3 * RejectAfterTime
)

// since gives from+d, or Never if from is Never: a rule that is not armed.
func since(from Time, d time.Duration) Time {
	if from.IsZero() {
		return clock.Never
	}
	return from.Add(d)
}

// RetransmitAt is T1: when the initiation sent at sent is taken for lost.
func RetransmitAt(sent Time, jitter time.Duration) Time { return since(sent, RekeyTimeout+jitter) }

// KeepaliveAt is T2: when data received at unacked, with nothing sent since,
// is acknowledged by a keepalive.
func KeepaliveAt(unacked Time) Time { return since(unacked, KeepaliveTimeout) }

// NewHandshakeAt is T3: when data sent at unanswered, with nothing received
// since, means that the session is lost.
func NewHandshakeAt(unanswered Time, jitter time.Duration) Time {
	return since(unanswered, NewHandshakeTimeout+jitter)
}

// ZeroKeysAt is T4: when all secrets are wiped if the last session was
// derived at derived.
func ZeroKeysAt(derived Time) Time { return since(derived, ZeroKeysAfter) }

// PersistentAt is T5: when a persistent keepalive is due if the last
// authenticated send or receive was at traffic. An interval of 0 is off. It waits
// up to a 32nd of the interval longer, but no more than a second: step (of 256; a
// byte is what a peer has for it) of that, so that peers part; then at a multiple of slot
// within it, if there is one, so that those of many peers are due together. No
// slot: 0.
func PersistentAt(traffic Time, interval time.Duration, step uint8, slot time.Duration) Time {
	if interval <= 0 || traffic.IsZero() {
		return clock.Never
	}
	from, most := traffic.Add(interval), min(interval/32, time.Second)
	at := from.Add(most * time.Duration(step) / 256)
	if slot <= 0 || slot > most {
		return at
	}
	if down := at - at%Time(slot); down >= from {
		return down
	}
	return at + Time(slot) - at%Time(slot)
}

// RekeyAt is from when the initiator of a key derived at birth renews it when it
// sends.
func RekeyAt(birth Time, jitter time.Duration) Time { return since(birth, RekeyAfterTime+jitter) }

// RekeyOnReceiveAt is from when it renews the key when it receives.
func RekeyOnReceiveAt(birth Time) Time { return since(birth, RekeyOnReceiveAfter) }

// MayInitiateAt is from when another initiation may go out if the last
// handshake message was sent at sent; Never if at once.
func MayInitiateAt(sent Time) Time { return since(sent, RekeyTimeout) }

// RejectAt is from when a key derived at birth is dead.
func RejectAt(birth Time) Time { return since(birth, RejectAfterTime) }
