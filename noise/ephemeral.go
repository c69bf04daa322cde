package noise

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/dh/x25519"

	"culvert/device/config"
)

// ephemeral is e, the key pair of one handshake. Unlike an identity it is not
// crypto/ecdh's: that would derive the public key by a whole DH, where circl multiplies
// its base point from a table, and would not let us wipe the private key.
// The zero value is a wiped one. One owner of generate and wipe.
type ephemeral struct {
	private config.PrivateKey
	public  [keySize]byte
}

// generate makes e of the next 32 bytes of rand. On rand's error e is wiped.
func (e *ephemeral) generate(rand io.Reader) error {
	if _, err := io.ReadFull(rand, e.private[:]); err != nil {
		e.wipe()
		return fmt.Errorf("read randomness: %w", err)
	}
	e.private.Clamp()
	x25519.KeyGen((*x25519.Key)(&e.public), (*x25519.Key)(&e.private))
	return nil
}

// dh is X25519 of e and another's public key; ErrLowOrder if the result is all zeros.
func (e *ephemeral) dh(public *[keySize]byte) (shared [keySize]byte, err error) {
	if !x25519.Shared((*x25519.Key)(&shared), (*x25519.Key)(&e.private), (*x25519.Key)(public)) {
		return [keySize]byte{}, ErrLowOrder // what it returns false for: a public key of low order
	}
	return shared, nil
}

func (e *ephemeral) wipe() { *e = ephemeral{} }

// wiped is also true of one that was never generated: a clamped key is not zero.
func (e *ephemeral) wiped() bool { return e.private.IsZero() }
