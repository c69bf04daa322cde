package noise

import (
	"golang.org/x/crypto/blake2s"

	"culvert/device/config"
	"culvert/internal/aead"
)

// keySize is the size of every key, hash and DH result, in bytes.
const keySize = config.KeySize

// Names that are hashed into every handshake (paper, section 5.4).
const (
	construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
	identifier   = "WireGuard v1 zx2c4 Jason@zx2c4.com"
)

// firstChain and firstHash are what every handshake starts from. Never written again.
var (
	firstChain = blake2s.Sum256([]byte(construction))
	firstHash  = hashOf(&firstChain, []byte(identifier))
)

// symmetric is the running state of a handshake (Noise, section 5.2):
// everything said so far is in hash, every secret shared so far is in chain. It
// allocates nothing but for seal and open.
type symmetric struct {
	hash  [keySize]byte
	chain [keySize]byte
}

// begin is the state before the first message to a responder: "<- s".
func begin(responder *config.PublicKey) symmetric {
	return symmetric{hash: hashOf(&firstHash, responder[:]), chain: firstChain}
}

func (s *symmetric) wipe() { *s = symmetric{} }

// mixHash adds public data, at most maxMix bytes, to the hash.
func (s *symmetric) mixHash(data []byte) { s.hash = hashOf(&s.hash, data) }

// mixChain adds a secret to the chaining key.
func (s *symmetric) mixChain(secret *[keySize]byte) { s.chain = kdf1(&s.chain, secret[:]) }

// mixKey adds a secret to the chaining key and gives the key of the next
// encrypted field. It seals or opens that one field.
func (s *symmetric) mixKey(secret *[keySize]byte) (key [keySize]byte) {
	s.chain, key = kdf2(&s.chain, secret[:])
	return key
}

// mixPSK is mixKey for the preshared key, which also goes into the hash.
func (s *symmetric) mixPSK(psk *config.PresharedKey) (key [keySize]byte) {
	var tau [keySize]byte
	s.chain, tau, key = kdf3(&s.chain, psk[:])
	s.mixHash(tau[:])
	clear(tau[:])
	return key
}

// seal encrypts plain to field, which is TagSize longer, and wipes key.
func (s *symmetric) seal(key *[keySize]byte, field, plain []byte) {
	copy(field, plain)
	aead.SealOnce(key, field, s.hash[:])
	s.mixHash(field)
	clear(key[:])
}

// open decrypts field to plain, which is TagSize shorter, and wipes key. On
// false plain is all zeros.
func (s *symmetric) open(key *[keySize]byte, plain, field []byte) bool {
	ok := aead.OpenOnce(key, plain, field, s.hash[:])
	s.mixHash(field)
	clear(key[:])
	return ok
}

// maxMix is the longest thing mixed into a hash: the encrypted static key.
const maxMix = keySize + TagSize

// hashOf is BLAKE2s-256 of h and data, at most maxMix bytes.
func hashOf(h *[keySize]byte, data []byte) [keySize]byte {
	var b [keySize + maxMix]byte
	if len(data) > maxMix {
		panic("BUG: noise: too much to hash")
	}
	n := copy(b[:], h[:])
	n += copy(b[n:], data)
	return blake2s.Sum256(b[:n])
}

// kdf1 is HKDF (RFC 5869) with HMAC-BLAKE2s, key as the salt, and one output;
// input has at most keySize bytes.
func kdf1(key *[keySize]byte, input []byte) (t1 [keySize]byte) {
	prk := hmac(key, input, 0)
	t1 = hmac(&prk, nil, 1)
	clear(prk[:])
	return t1
}

// kdf2 is kdf1 with two outputs.
func kdf2(key *[keySize]byte, input []byte) (t1, t2 [keySize]byte) {
	prk := hmac(key, input, 0)
	t1 = hmac(&prk, nil, 1)
	t2 = hmac(&prk, t1[:], 2)
	clear(prk[:])
	return t1, t2
}

// kdf3 is kdf1 with three outputs.
func kdf3(key *[keySize]byte, input []byte) (t1, t2, t3 [keySize]byte) {
	prk := hmac(key, input, 0)
	t1 = hmac(&prk, nil, 1)
	t2 = hmac(&prk, t1[:], 2)
	t3 = hmac(&prk, t2[:], 3)
	clear(prk[:])
	return t1, t2, t3
}

// hmac is HMAC-BLAKE2s-256 (RFC 2104) of data, at most keySize bytes, and of
// the byte last if it is not 0 (HKDF's output number).
func hmac(key *[keySize]byte, data []byte, last byte) [keySize]byte {
	var b [blake2s.BlockSize + keySize + 1]byte
	pad(&b, key, 0x36)
	n := blake2s.BlockSize + copy(b[blake2s.BlockSize:], data)
	if last != 0 {
		b[n] = last
		n++
	}
	inner := blake2s.Sum256(b[:n])
	pad(&b, key, 0x5c)
	n = blake2s.BlockSize + copy(b[blake2s.BlockSize:], inner[:])
	out := blake2s.Sum256(b[:n])
	clear(b[:])
	return out
}

// pad puts the key xor x, filled up with x, in the first block of b.
func pad(b *[blake2s.BlockSize + keySize + 1]byte, key *[keySize]byte, x byte) {
	for i := range blake2s.BlockSize {
		b[i] = x
	}
	for i, k := range key {
		b[i] ^= k
	}
}
