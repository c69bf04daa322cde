// Package config holds the plain values a device is configured with and the
// ones it reports. It is a leaf: it knows no other package of this module.
package config

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
)

// KeySize is the size of every key, in bytes.
const KeySize = 32

// PublicKey is a peer's static public key: its identity.
type PublicKey [KeySize]byte

// String is the base64 form wg(8) shows.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Short is an abbreviation for logs.
func (k PublicKey) Short() string { s := k.String(); return s[:4] + "…" + s[39:43] }

// IsZero reports whether k is all zeros.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// PrivateKey is a Curve25519 scalar. It never prints.
type PrivateKey [KeySize]byte

// PresharedKey is the optional symmetric key of a peer; all zeros means none.
// It never prints.
type PresharedKey [KeySize]byte

// hidden is what every secret prints as, whatever the verb.
const hidden = "(hidden)"

// Format does not tell the key. (String alone would leave %d and others.)
func (PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText does not tell the key: for encoding/json and log/slog.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format does not tell the key.
func (PresharedKey) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText does not tell the key.
func (PresharedKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// IsZero reports in constant time whether k is all zeros.
func (k *PrivateKey) IsZero() bool {
	var zero PrivateKey
	return subtle.ConstantTimeCompare(k[:], zero[:]) == 1
}

// Equal compares in constant time.
func (k *PrivateKey) Equal(o *PrivateKey) bool {
	return subtle.ConstantTimeCompare(k[:], o[:]) == 1
}

// Clamp makes k a valid Curve25519 scalar (RFC 7748, section 5).
func (k *PrivateKey) Clamp() {
	k[0] &= 248
	k[31] = k[31]&127 | 64
}

// IsZero reports in constant time whether k is all zeros.
func (k *PresharedKey) IsZero() bool {
	var zero PresharedKey
	return subtle.ConstantTimeCompare(k[:], zero[:]) == 1
}

// Equal compares in constant time.
func (k *PresharedKey) Equal(o *PresharedKey) bool {
	return subtle.ConstantTimeCompare(k[:], o[:]) == 1
}
