package device

import (
	"sync/atomic"
	"time"

	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// held counts the users of a secret, so that it is wiped when it has been
// retired and the last batch that uses it is done. It starts with the owner's
// own reference.
type held struct{ refs atomic.Int32 }

func (h *held) init() { h.refs.Store(1) }

// acquire takes a reference; false if the secret is already gone.
func (h *held) acquire() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop gives a reference back; true if it was the last: the caller wipes.
func (h *held) drop() bool {
	n := h.refs.Add(-1)
	if n < 0 {
		panic("BUG: a keypair was released more often than it was taken")
	}
	return n == 0
}

// keypair is a transport keypair as the pipes see it. All but the atomics and
// the window is immutable.
type keypair struct {
	held
	keys *noise.Keypair
	peer *peer

	// Limits, compared once per batch (paper, section 6.1).
	rejectAt    clock.Time // REJECT_AFTER_TIME: neither sent nor received any more
	renewSendAt clock.Time // initiator only: send and renew; zero: never
	renewRecvAt clock.Time // initiator only: receive and renew; zero: never

	// next is the counter of the next message. A batch reserves as many as it
	// has packets at once: no counter is ever used twice.
	next atomic.Uint64
	// renewing is set by whoever asked for new keys first: once per key each.
	renewingSend, renewingRecv atomic.Bool
	// unconfirmed: we are the responder and nothing authenticated came yet.
	unconfirmed atomic.Bool
	// barred: it must not become the send key any more.
	barred atomic.Bool
	// replaces is the keypair that is found no more from the first message under this one on
	// (promote); nil: none. Immutable but for that.
	replaces atomic.Pointer[keypair]

	// window belongs to the peer's sequential receiver.
	window noise.Window
	// wideWindow says so of it to everybody.
	wideWindow atomic.Bool
}

// newKeypair makes one that was derived at now. If we are to renew it, jitter is drawn
// for that.
func newKeypair(p *peer, k *noise.Keypair, now clock.Time, jitter func(most time.Duration) time.Duration) *keypair {
	kp := &keypair{keys: k, peer: p, rejectAt: timers.RejectAt(now)}
	if k.Initiator {
		kp.renewSendAt = timers.RekeyAt(now, jitter(timers.MaxRekeyJitter))
		kp.renewRecvAt = timers.RekeyOnReceiveAt(now)
	} else {
		kp.unconfirmed.Store(true)
	}
	kp.init()
	return kp
}

// release gives a reference back and wipes the keys with the last.
func (k *keypair) release() {
	if k.drop() {
		k.keys.Wipe()
	}
}

// usable reports whether k may still send at now.
func (k *keypair) usable(now clock.Time) bool {
	return k != nil && now < k.rejectAt && k.next.Load() < timers.RejectAfterMessages
}

// whyNot is the reason to ask for other keys when k is not usable.
func (k *keypair) whyNot() session.Reason {
	if k != nil && k.next.Load() >= timers.RejectAfterMessages {
		return session.RekeyMessages
	}
	return session.DataWaits
}

// wantsRenewal says, once per key, why a batch sent at now should bring new keys;
// session.None: it should not.
func (k *keypair) wantsRenewal(now clock.Time, counter uint64) session.Reason {
	why := session.None
	switch {
	case counter > timers.RekeyAfterMessages:
		why = session.RekeyMessages
	case k.renewSendAt != 0 && now >= k.renewSendAt:
		why = session.RekeySending
	}
	if why == session.None || k.renewingSend.Load() || !k.renewingSend.CompareAndSwap(false, true) {
		return session.None
	}
	return why
}

// wantsLateRenewal is wantsRenewal on receive.
func (k *keypair) wantsLateRenewal(now clock.Time) bool {
	return k.renewRecvAt != 0 && now >= k.renewRecvAt && !k.renewingRecv.Load() && k.renewingRecv.CompareAndSwap(false, true)
}

// pending is a handshake of ours that waits for its response.
type pending struct {
	held
	state  *noise.Handshake
	peer   *peer
	remote *remote   // held
	id     *identity // held
}

// newPending makes one, held once. The caller holds r and id.
func newPending(state *noise.Handshake, p *peer, r *remote, id *identity) *pending {
	if !r.acquire() || !id.acquire() {
		panic("BUG: a handshake is made of what is not held")
	}
	h := &pending{state: state, peer: p, remote: r, id: id}
	h.init()
	return h
}

// release gives a reference back; with the last the state is wiped, and what it holds let go.
func (h *pending) release() {
	if h.drop() {
		h.state.Wipe()
		h.remote.release()
		h.id.release()
	}
}
