package device

import (
	"culvert/device/config"
	"culvert/noise"
)

// identity is our private key. It is held by the device, by each handshake worker that has
// messages in hand, and by each handshake of ours under way; whoever is the last wipes it.
// What needs no secret (PublicKey, CheckMAC1) needs no hold.
type identity struct {
	held
	*noise.Identity
}

// newIdentity is nil for the key zero, which is none.
func newIdentity(k *config.PrivateKey) *identity {
	n, err := noise.NewIdentity(k)
	if err != nil {
		return nil
	}
	id := &identity{Identity: n}
	id.init()
	return id
}

// release gives a reference back and wipes the key with the last.
func (id *identity) release() {
	if id != nil && id.drop() {
		id.Wipe()
	}
}

// holdIdentity is the identity, held; nil without a private key.
func (d *Device) holdIdentity() *identity {
	for {
		id := d.identity.Load()
		if id == nil || id.acquire() {
			return id
		}
		// It is gone, so there is another one by now (setIdentity).
	}
}

// setIdentity replaces the identity and gives up the device's hold of the old one.
func (d *Device) setIdentity(id *identity) { d.identity.Swap(id).release() }

// remote is what handshake workers need of a peer, together with the identity
// its static-static secret was computed for (nil: not yet), which is compared and not used. It is held by
// the peer, by each worker that has a message of the peer in hand, and by our handshake with it;
// whoever is the last wipes it.
type remote struct {
	noise.Remote
	held
	id *identity
}

// newRemote makes one, held once, that knows the peer's public key.
func newRemote(p *peer) *remote {
	r := &remote{}
	r.Static = p.public
	r.init()
	return r
}

// release gives a reference back and wipes the secrets with the last.
func (r *remote) release() {
	if r != nil && r.drop() {
		r.Wipe()
	}
}

// holdRemote is what there is of p, held; nil if there is nothing.
func (p *peer) holdRemote() *remote {
	for {
		r := p.remote.Load()
		if r == nil || r.acquire() {
			return r
		}
		// It is gone, so it is p's no more (setRemote, publish).
	}
}

// setRemote puts r, whose one hold it takes over, in the place of what is there; nil is for a peer that goes.
func (p *peer) setRemote(r *remote) { p.remote.Swap(r).release() }

// publish puts r, which the caller holds, in the place of old, if that is still there: not if
// the preshared key was changed or another worker was quicker. A removed peer
// keeps nothing: removeWith marks it before it takes away what is there, so one of the two finds r.
func (p *peer) publish(old, r *remote) {
	if !r.acquire() {
		panic("BUG: what is to be published is not held")
	}
	if !p.remote.CompareAndSwap(old, r) {
		r.release()
		return
	}
	old.release()
	if p.removed.Load() {
		p.setRemote(nil)
	}
}

// forgetShared takes away the static-static secret, which was computed with a private key that is no longer ours.
func (p *peer) forgetShared() {
	for {
		r := p.holdRemote()
		if r == nil {
			return
		}
		var fresh *remote
		if !r.PSK.IsZero() {
			fresh = newRemote(p)
			copy(fresh.PSK[:], r.PSK[:])
		}
		done := r.id == nil
		if !done && p.remote.CompareAndSwap(r, fresh) {
			done = true
			r.release() // p's
		} else {
			fresh.release()
		}
		if r.release(); done { // else it was replaced meanwhile
			return
		}
	}
}

// presharedKey copies the one set; zeros if none is.
func (p *peer) presharedKey(to *config.PresharedKey) {
	clear(to[:])
	if r := p.holdRemote(); r != nil {
		copy(to[:], r.PSK[:])
		r.release()
	}
}
