package aead

import "golang.org/x/crypto/chacha20poly1305"

// SealOnce encrypts in place as Key.Seal does, with additional data and the
// nonce 0. That nonce is safe only because every key of a handshake seals
// exactly one message (paper, section 5.4: AEAD with counter 0): never
// give it the same key twice. buf and ad may not overlap. Allocates once: no Key is
// made, which could also do batches.
func SealOnce(key *[KeySize]byte, buf, ad []byte) {
	a := newAEAD(key)
	defer wipeOnce(secretOf(a, key))
	var nonce [chacha20poly1305.NonceSize]byte
	n := len(buf) - Overhead
	a.Seal(buf[:0:len(buf)], noescape(&nonce)[:], buf[:n], ad)
}

// OpenOnce is the counterpart of SealOnce. It decrypts to dst, which has
// len(sealed)-Overhead bytes and may not overlap sealed; on false dst is all
// zeros.
func OpenOnce(key *[KeySize]byte, dst, sealed, ad []byte) bool {
	if len(sealed) < Overhead || len(dst) != len(sealed)-Overhead {
		clear(dst)
		return false
	}
	a := newAEAD(key)
	defer wipeOnce(secretOf(a, key))
	var nonce [chacha20poly1305.NonceSize]byte
	if _, err := a.Open(dst[:0:len(dst)], noescape(&nonce)[:], sealed, ad); err != nil {
		clear(dst)
		return false
	}
	return true
}

// wipeOnce overwrites the key inside x/crypto's value, if it was found (Key.Wipe).
func wipeOnce(secret *[KeySize]byte) {
	if secret != nil {
		clear(secret[:])
	}
}
