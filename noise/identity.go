package noise

import (
	"culvert/device/config"
	"culvert/internal/x25519"
)

// Identity is our own static key, ready for use: key pair and mac1 key. Immutable until Wipe;
// safe for concurrent use.
type Identity struct {
	static keyPair
	start  symmetric // state of a handshake with us as the responder
	mac1   keyed     // checks mac1 on messages to us
}

// NewIdentity prepares a copy of k, which is clamped first. ErrZeroKey if k is all
// zeros: no private key is set.
func NewIdentity(k *config.PrivateKey) (*Identity, error) {
	if k.IsZero() {
		return nil, ErrZeroKey
	}
	id := &Identity{}
	id.static.set(k)
	public := id.PublicKey()
	id.start = begin(&public)
	mac1 := mac1Key(&public)
	id.mac1 = new(Hasher).prepare(mac1[:])
	return id, nil
}

// PublicKey is what others know us by.
func (id *Identity) PublicKey() config.PublicKey { return id.static.public }

// PrivateKey copies the clamped private key.
func (id *Identity) PrivateKey(to *config.PrivateKey) { copy(to[:], id.static.private[:]) }

// Wipe overwrites the private key. Nobody may be opening or building a message with it, or
// have a DH of it to be computed; what needs no secret (PublicKey, CheckMAC1) may still be used.
func (id *Identity) Wipe() { clear(id.static.private[:]) }

// StaticShared computes the static-static DH with remote; ErrLowOrder if it is all zeros.
func (id *Identity) StaticShared(remote config.PublicKey) (shared [32]byte, err error) {
	x25519.Multiply([]x25519.Product{{Private: (*[keySize]byte)(&id.static.private), Public: (*[keySize]byte)(&remote), To: &shared}})
	if isZero(&shared) {
		return shared, ErrLowOrder
	}
	return shared, nil
}

// AddShared has d's Compute set r.Shared to StaticShared with r.Static. Until then nobody else
// may have r.
func (id *Identity) AddShared(r *Remote, d *DHs) {
	d.add(&id.static.private, (*[keySize]byte)(&r.Static), &r.Shared)
}

// Remote is what a handshake needs to know of the peer. Immutable once shared, until Wipe.
type Remote struct {
	Static config.PublicKey
	PSK    config.PresharedKey // all zeros if there is none
	Shared [32]byte            // StaticShared with the current Identity; all zeros: Static is of low order
}

// Wipe overwrites the secrets of r. No handshake with it may be under way.
func (r *Remote) Wipe() {
	clear(r.PSK[:])
	clear(r.Shared[:])
}

// lowOrder reports that there is no handshake with r.
func (r *Remote) lowOrder() bool { return isZero(&r.Shared) }

// isZero reports in constant time whether b is all zeros.
func isZero(b *[keySize]byte) bool {
	var or byte
	for _, x := range b {
		or |= x
	}
	return or == 0
}
