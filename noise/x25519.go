package noise

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/dh/x25519"

	"culvert/device/config"
)

// keyPair is a key pair of X25519: our static one, or e of one handshake. It is circl's
// and not crypto/ecdh's, which takes 31 us for a DH instead of 22 and derives a public
// key by a whole DH, where circl multiplies its base point from a table (14 us); and which
// would not let us wipe the private key. Both take the same time whatever the
// keys. The zero value is a wiped one. One owner of set, generate and wipe.
type keyPair struct {
	private config.PrivateKey
	public  [keySize]byte
}

// set makes the pair of k, which is clamped first.
func (e *keyPair) set(k *config.PrivateKey) {
	e.private = *k
	e.private.Clamp()
	x25519.KeyGen((*x25519.Key)(&e.public), (*x25519.Key)(&e.private))
}

// generate makes a pair of the next 32 bytes of rand. On rand's error it is wiped.
func (e *keyPair) generate(rand io.Reader) error {
	if _, err := io.ReadFull(rand, e.private[:]); err != nil {
		e.wipe()
		return fmt.Errorf("read randomness: %w", err)
	}
	e.set(&e.private)
	return nil
}

// dh is X25519 of the private key and another's public key; ErrLowOrder if the result
// is all zeros.
func (e *keyPair) dh(public *[keySize]byte) (shared [keySize]byte, err error) {
	// It returns false for public keys of low order, which are those that give zeros.
	ok := x25519.Shared((*x25519.Key)(&shared), (*x25519.Key)(&e.private), (*x25519.Key)(public))
	if !ok || isZero(&shared) {
		return [keySize]byte{}, ErrLowOrder
	}
	return shared, nil
}

func (e *keyPair) wipe() { *e = keyPair{} }

// wiped is also true of one that was never set: a clamped key is not zero.
func (e *keyPair) wiped() bool { return e.private.IsZero() }
