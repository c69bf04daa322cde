package noise

import (
	"crypto/subtle"

	"golang.org/x/crypto/blake2s"

	"culvert/device/config"
)

// Initiation and response end in mac1 and mac2 (paper, section 5.4.4). mac1
// is keyed with the receiver's public key: whoever does not know it gets no
// answer. mac2 is keyed with a cookie, and zero if there is none.
const (
	macSize   = 16
	labelMAC1 = "mac1----"
)

// mac1Key is the key of mac1 on messages to public.
func mac1Key(public *config.PublicKey) [keySize]byte { return labelledKey(labelMAC1, public) }

// labelledKey is BLAKE2s-256 of an 8-byte label and a public key.
func labelledKey(label string, public *config.PublicKey) [keySize]byte {
	var b [8 + keySize]byte
	copy(b[:8], label)
	copy(b[8:], public[:])
	return blake2s.Sum256(b[:])
}

// mac is keyed BLAKE2s-128; key is 1 to 32 bytes. It allocates 208 bytes, and needs no
// owner: for our own messages. Those of strangers are checked with a Hasher.
func mac(key, data []byte) (sum [macSize]byte) {
	h, err := blake2s.New128(key)
	if err != nil {
		panic("BUG: noise: " + err.Error())
	}
	h.Write(data)
	h.Sum(sum[:0])
	return sum
}

// mac1Of and mac2Of are the fields of an initiation or response; what comes
// before them is what they authenticate.
func mac1Of(msg []byte) (before, mac1 []byte) {
	n := len(msg) - 2*macSize
	return msg[:n], msg[n : n+macSize]
}

func mac2Of(msg []byte) (before, mac2 []byte) {
	n := len(msg) - macSize
	return msg[:n], msg[n:]
}

// hasMACs reports whether msg ends in MACs.
func hasMACs(msg []byte) bool {
	t := Classify(msg)
	return t == TypeInitiation || t == TypeResponse
}

// CheckMAC1 checks mac1 of an initiation or response to us, in constant time. It
// is false for every other message. It allocates nothing once h has been used.
func (id *Identity) CheckMAC1(h *Hasher, msg []byte) bool {
	if !hasMACs(msg) {
		return false
	}
	before, mac1 := mac1Of(msg)
	want := h.mac(&id.mac1, before)
	return subtle.ConstantTimeCompare(want[:], mac1) == 1
}
