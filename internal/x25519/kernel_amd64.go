package x25519

// The kernel is written by gen. It needs AVX-512 F, DQ and IFMA. Nothing that it reads,
// writes or jumps to depends on a secret, and it wipes the vector registers.

//go:generate go run ./gen -out kernel_amd64.s -pkg x25519

// ladder takes the bits of 8 private keys over 8 points: x2/z2 are the products.
//
//go:noescape
func ladder(w *work)

// multiply is dst = a*b. All may be the same.
//
//go:noescape
func multiply(dst, a, b *element)

// square is dst = a^(2^times), times at least 1. Both may be the same.
//
//go:noescape
func square(dst, a *element, times int)
