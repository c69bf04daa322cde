// Package x25519 computes X25519 (RFC 7748), of which a handshake needs up to four:
// one by one, or 8 side by side, one in each lane of AVX-512, in the time of one.
package x25519

import (
	"github.com/cloudflare/circl/dh/x25519"
)

// Size is the size of private keys, public keys and secrets, in bytes.
const Size = 32

// Generic is the name of what works everywhere: circl, one by one.
const Generic = "generic"

// A Product is a private key times a public key. All three may be the same memory
// as in another product that is read only.
type Product struct {
	Private *[Size]byte // clamped
	Public  *[Size]byte // nil: the base point, so that To becomes the public key of Private
	To      *[Size]byte // all zeros if Public is of low order
}

// Multiply computes products, in the same time whatever the keys. Safe for concurrent
// use; it allocates nothing.
func Multiply(products []Product) {
	for len(products) >= least && chosen() {
		n := min(len(products), lanes)
		multiplyLanes(products[:n])
		products = products[n:]
	}
	for i := range products {
		one(&products[i])
	}
}

// Kernel is the name of what computes products side by side.
func Kernel() string {
	if chosen() {
		return "avx512"
	}
	return Generic
}

// one is a product by circl: a base point from a table, in two thirds of the time.
func one(p *Product) {
	if p.Public == nil {
		x25519.KeyGen((*x25519.Key)(p.To), (*x25519.Key)(p.Private))
		return
	}
	if !x25519.Shared((*x25519.Key)(p.To), (*x25519.Key)(p.Private), (*x25519.Key)(p.Public)) {
		clear(p.To[:])
	}
}
