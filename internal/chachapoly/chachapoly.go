// Package chachapoly seals and opens batches of messages with ChaCha20-Poly1305
// (RFC 8439) as WireGuard uses it: no additional data, and a nonce of 4 zero bytes
// and a counter. A TLS library has one message at a time; a tunnel has many under
// one key. So the vector lanes are filled with blocks of several messages, short
// ones and the ends of long ones waste nothing, and each message's authenticator
// has a lane of its own.
package chachapoly

import "encoding/binary"

// Sizes in bytes.
const (
	KeySize  = 32
	Overhead = 16 // the tag
)

// A Kernel computes batches with one set of instructions. Immutable; safe for
// concurrent use.
type Kernel struct {
	Name string
	// Batch is how many messages are sealed or opened side by side. More in a call
	// gain nothing, fewer leave lanes empty.
	Batch int
	// Least is how many messages are worth a call: fewer are quicker one by one,
	// with x/crypto.
	Least int

	wide bool // AVX-512
}

// A Message is sealed or opened in place: Buf is the plaintext and Overhead bytes of
// space, or the ciphertext and its tag. Bufs of one call do not overlap.
type Message struct {
	Buf     []byte
	Counter uint64
	// Bad is set by Open where the tag is not right; Buf is as it was then.
	Bad bool
}

// A Key is a key laid out for the kernels. Immutable until Wipe; safe for concurrent
// use. The zero Key is one of zeros.
type Key struct {
	state [13]uint32 // of ChaCha20: the constants, the key, and the first word of the nonce
}

// Init makes k that key, which is copied.
func (k *Key) Init(key *[KeySize]byte) {
	k.state = [13]uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574} // "expand 32-byte k", RFC 8439 section 2.3
	for i := range 8 {
		k.state[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
}

// Wipe overwrites the key.
func (k *Key) Wipe() { clear(k.state[:]) }
