// Package aead is the seam for ChaCha20-Poly1305 (RFC 8439): everything that
// seals or opens a message goes through it. Batches are for internal/chachapoly
// where that has a kernel for the processor; all else is done by
// golang.org/x/crypto/chacha20poly1305.
package aead

import (
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"culvert/internal/chachapoly"
)

// Sizes in bytes.
const (
	KeySize  = chacha20poly1305.KeySize  // 32
	Overhead = chacha20poly1305.Overhead // 16, the tag
)

// Key is one ChaCha20-Poly1305 key, ready for use. Immutable until Wipe; safe
// for concurrent use. Make it with New; the zero Key behaves as a wiped one.
type Key struct {
	aead   cipher.AEAD
	secret *[KeySize]byte     // the key inside aead, to wipe it; nil if it was not found
	lanes  chachapoly.Key     // the same key, for batches
	kernel *chachapoly.Kernel // computes them; nil is one by one
}

// New copies key; the caller may wipe its own.
func New(key *[KeySize]byte) *Key { return newKey(key, chosen().kernel) }

// NewWith is New with one of Kernels, whatever was chosen for the process and
// without a test: for tests and measurements.
func NewWith(kernel string, key *[KeySize]byte) (*Key, error) {
	n, err := named(kernel)
	if err != nil {
		return nil, err
	}
	return newKey(key, n), nil
}

func newKey(key *[KeySize]byte, kernel *chachapoly.Kernel) *Key {
	a := newAEAD(key)
	k := &Key{aead: a, secret: secretOf(a, key), kernel: kernel}
	k.lanes.Init(key)
	return k
}

// Seal encrypts in place: buf holds n bytes of plaintext, then Overhead bytes
// of space for the tag; len(buf) == n+Overhead. The nonce is 4 zero bytes and
// the counter, little-endian (paper, section 5.4.6). No additional data.
// The caller never gives a counter twice. No allocation. It panics on a wiped
// key, and when buf has no room for the tag.
func (k *Key) Seal(buf []byte, counter uint64) {
	if k.aead == nil {
		panic("BUG: aead: seal with a wiped key")
	}
	var nonce [chacha20poly1305.NonceSize]byte
	binary.LittleEndian.PutUint64(nonce[4:], counter)
	n := len(buf) - Overhead
	k.aead.Seal(buf[:0:len(buf)], noescape(&nonce)[:], buf[:n], nil)
}

// Open decrypts buf (ciphertext and tag) in place; the plaintext is
// buf[:len(buf)-Overhead]. On false, which a short buf and a wiped key also
// give, its content is undefined. No allocation.
func (k *Key) Open(buf []byte, counter uint64) bool {
	if len(buf) < Overhead || k.aead == nil {
		return false
	}
	var nonce [chacha20poly1305.NonceSize]byte
	binary.LittleEndian.PutUint64(nonce[4:], counter)
	_, err := k.aead.Open(buf[:0:len(buf)], noescape(&nonce)[:], buf, nil)
	return err == nil
}

// Wipe ends the use of the key: afterwards Seal panics and Open fails. No call
// may be under way. A second call does nothing.
//
// It overwrites the key inside x/crypto's value. If a later x/crypto keeps its
// key in another way than New expects, Wipe only drops the reference. What
// Seal and Open, single ones, leave on the stack is for their caller to overwrite (package scrub).
func (k *Key) Wipe() {
	if k.secret != nil {
		clear(k.secret[:])
	}
	k.lanes.Wipe()
	*k = Key{}
}

// newAEAD is x/crypto's AEAD for key. It fails only in Go's FIPS 140-only
// mode, in which no WireGuard can run.
func newAEAD(key *[KeySize]byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic("aead: " + err.Error() + "; run without GODEBUG=fips140=only")
	}
	return a
}
