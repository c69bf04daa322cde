package noise

import (
	"fmt"
	"io"

	"culvert/device/config"
	"culvert/internal/x25519"
)

// DHs are the DHs, and the makings of key pairs, of several handshakes, collected to be
// computed side by side: 8 take the time of one where the processor has AVX-512. The zero value
// is ready; one that is used again allocates nothing. One owner.
type DHs struct{ list []x25519.Product }

// add wants private times public, nil for the base point, in to: all zeros if public is
// of low order. All three have to stay where they are, and as they are, until Compute.
func (d *DHs) add(private *config.PrivateKey, public, to *[keySize]byte) {
	d.list = append(d.list, x25519.Product{Private: (*[keySize]byte)(private), Public: public, To: to})
}

// Compute computes what was added, and forgets it.
func (d *DHs) Compute() {
	x25519.Multiply(d.list)
	clear(d.list)
	d.list = d.list[:0]
}

// keyPair is a key pair of X25519: our static one, or e of one handshake. The zero value is a
// wiped one. One owner of set, generate and wipe.
type keyPair struct {
	private config.PrivateKey
	public  [keySize]byte
}

// set makes the pair of k, which is clamped first.
func (e *keyPair) set(k *config.PrivateKey) {
	e.private = *k
	e.private.Clamp()
	x25519.Multiply([]x25519.Product{{Private: (*[keySize]byte)(&e.private), To: &e.public}})
}

// generate makes a pair of the next 32 bytes of rand; the public key is there after d's
// Compute. On rand's error it is wiped.
func (e *keyPair) generate(rand io.Reader, d *DHs) error {
	if _, err := io.ReadFull(rand, e.private[:]); err != nil {
		e.wipe()
		return fmt.Errorf("read randomness: %w", err)
	}
	e.private.Clamp()
	d.add(&e.private, nil, &e.public)
	return nil
}

func (e *keyPair) wipe() { *e = keyPair{} }

// wiped is also true of one that was never set: a clamped key is not zero.
func (e *keyPair) wiped() bool { return e.private.IsZero() }
