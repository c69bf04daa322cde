// Package aead is the seam for ChaCha20-Poly1305: everything that seals or
// opens a transport message goes through a Key, so that faster kernels slot in
// here and nowhere else.
package aead

// Key is one ChaCha20-Poly1305 key (RFC 8439), ready for use. Immutable until
// Wipe; safe for concurrent use.
type Key struct{}

// Overhead is the size of the tag in bytes.
const Overhead = 16

func New(key *[32]byte) *Key { panic("TODO") }

// Seal encrypts in place: buf holds n bytes of plaintext, then Overhead bytes
// of space for the tag; len(buf) == n+Overhead. The nonce is 4 zero bytes and
// the counter, little-endian (paper, section 5.4.6). No additional data. No allocation.
func (k *Key) Seal(buf []byte, counter uint64) { panic("TODO") }

// Open decrypts buf (ciphertext and tag) in place; the plaintext is
// buf[:len(buf)-Overhead]. On false its content is undefined. No allocation.
func (k *Key) Open(buf []byte, counter uint64) bool { panic("TODO") }

// Wipe overwrites the key as far as Go lets us. No call may be under way.
func (k *Key) Wipe() { panic("TODO") }
