package noise

import (
	"crypto/ecdh"
	"fmt"

	"culvert/device/config"
)

// Identity is our own static key, ready for use: prepared ECDH key, public
// key, mac1 key. Immutable; safe for concurrent use.
type Identity struct {
	private *ecdh.PrivateKey
	public  config.PublicKey
	start   symmetric // state of a handshake with us as the responder
	mac1    keyed     // checks mac1 on messages to us
}

// NewIdentity prepares k, which is clamped first. ErrZeroKey if k is all
// zeros: no private key is set.
func NewIdentity(k config.PrivateKey) (*Identity, error) {
	defer clear(k[:])
	if k.IsZero() {
		return nil, ErrZeroKey
	}
	k.Clamp()
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return nil, fmt.Errorf("prepare private key: %w", err) // Go's FIPS 140-only mode
	}
	public := config.PublicKey(private.PublicKey().Bytes())
	mac1 := mac1Key(&public)
	return &Identity{
		private: private,
		public:  public,
		start:   begin(&public),
		mac1:    new(Hasher).prepare(mac1[:]),
	}, nil
}

// PublicKey is what others know us by.
func (id *Identity) PublicKey() config.PublicKey { return id.public }

// StaticShared computes the static-static DH with remote; ErrLowOrder if it is all zeros.
func (id *Identity) StaticShared(remote config.PublicKey) (shared [32]byte, err error) {
	return id.dh((*[keySize]byte)(&remote))
}

// Remote is what a handshake needs to know of the peer. Immutable once shared.
type Remote struct {
	Static config.PublicKey
	PSK    config.PresharedKey // all zeros if there is none
	Shared [32]byte            // StaticShared with the current Identity; all zeros: Static is of low order
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

// dh is X25519 of our static key and another's public key; ErrLowOrder if the result is
// all zeros. A stranger may choose the public key and ask as often as he likes, under a
// key that stays: that is the standard library's to compute.
func (id *Identity) dh(public *[keySize]byte) (shared [keySize]byte, err error) {
	p, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return shared, fmt.Errorf("prepare public key: %w", err) // Go's FIPS 140-only mode
	}
	s, err := id.private.ECDH(p)
	if err != nil {
		return shared, ErrLowOrder // the only error of two X25519 keys
	}
	copy(shared[:], s)
	clear(s)
	return shared, nil
}
