package noise

import (
	"encoding"
	"hash"

	"golang.org/x/crypto/blake2s"
)

// keyed is BLAKE2s-128 that has been given its key and no message yet: the state
// of x/crypto's digest as that writes and reads it (encoding.BinaryMarshaler). For x/crypto a key is for
// the life of a hash.Hash, so a MAC under another key would cost a new one, 192
// bytes; a state can be put into a hash.Hash that is there. Secret if the key is. Immutable once shared.
//
// It is a "b2s", eight words of chain, a counter of bytes, the size of the sum,
// a block, and how much of the block is taken. TestHasher compares it with New128.
type keyed [stateOffset + 1]byte

// Where things are in a keyed.
const (
	stateChain  = len("b2s")
	stateSize   = stateChain + 8*4 + 2*4
	stateBlock  = stateSize + 1
	stateOffset = stateBlock + blake2s.BlockSize
)

// unkeyed is BLAKE2s-256 without a key or message. Never written again.
var unkeyed = stateOf(newDigest())

// withKey is keyed BLAKE2s-128 (RFC 7693, section 3.3); key is 1 to 32 bytes. The parameters, which
// unkeyed has for a sum of 32 bytes and no key, are added to the first word of
// the chain, and the padded key is the first block. The block waits: if nothing follows, it is also the last.
func (k *keyed) withKey(key []byte) {
	*k = unkeyed
	k[stateChain+3] ^= blake2s.Size ^ macSize
	k[stateChain+2] ^= byte(len(key))
	k[stateSize] = macSize
	copy(k[stateBlock:], key)
	k[stateOffset] = blake2s.BlockSize
}

// digest is what x/crypto's unkeyed BLAKE2s is.
type digest interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

func newDigest() digest {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic("BUG: noise: " + err.Error())
	}
	return h.(digest)
}

func stateOf(d digest) (k keyed) {
	b, err := d.MarshalBinary()
	if err != nil || len(b) != len(k) {
		panic("BUG: noise: x/crypto has another state of BLAKE2s")
	}
	copy(k[:], b)
	clear(b)
	return k
}

// Hasher is the memory that a check of mac1 or mac2 needs, kept from one to the
// next so that none is allocated. It depends on no key. The zero value
// is ready. One owner: every goroutine that checks has its own.
type Hasher struct {
	digest digest // nil before the first MAC
	once   keyed  // for a key that is used once
	sum    [blake2s.Size]byte
}

// wipe overwrites what the last MAC left.
func (h *Hasher) wipe() {
	if h.digest != nil {
		h.set(&unkeyed)
	}
	clear(h.once[:])
	clear(h.sum[:])
}

// set puts the state k into the digest.
func (h *Hasher) set(k *keyed) {
	if h.digest == nil {
		h.digest = newDigest()
	}
	if err := h.digest.UnmarshalBinary(k[:]); err != nil {
		panic("BUG: noise: " + err.Error())
	}
}

// prepare is withKey for a key of many MACs: its block is hashed once and for all.
// That saves one block of three for an initiation's mac1, one of two for a response's. What is hashed under it may not be empty. It allocates.
func (h *Hasher) prepare(key []byte) (k keyed) {
	k.withKey(key)
	h.set(&k)
	h.digest.Write([]byte{0}) // the first byte after a block has the block hashed
	k = stateOf(h.digest)
	clear(k[stateBlock:]) // and is taken back
	return k
}

// mac is the MAC of data under k.
func (h *Hasher) mac(k *keyed, data []byte) [macSize]byte {
	h.set(k)
	h.digest.Write(data)
	h.digest.Sum(h.sum[:0])
	return [macSize]byte(h.sum[:])
}

// macOnce is mac under a key that is not prepared.
func (h *Hasher) macOnce(key, data []byte) [macSize]byte {
	h.once.withKey(key)
	return h.mac(&h.once, data)
}
