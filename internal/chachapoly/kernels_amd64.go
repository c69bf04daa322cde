package chachapoly

// The kernels are written by gen; -out is kernels_amd64.s. They need AVX-512 F, BW,
// VL, DQ and IFMA, and are in no way dependent on secrets in what they read,
// write or jump to: addresses, lengths and masks are all there is.

//go:generate go run ./gen -out kernels_amd64.s -pkg chachapoly

// chacha16 xors a block of key stream into what each lane points to. The first 12
// words of the state, constants and key, are the same for all of them; word 13 is 0.
//
//go:noescape
func chacha16(state *[12]uint32, l *lanes)

// chachaRun xors 16 blocks of key stream, the first with that counter, into 1,024
// bytes of one message; low and high are the halves of the message's counter.
//
//go:noescape
func chachaRun(state *[12]uint32, dst *byte, block, low, high uint32)

// poly8 takes that many chunks of 64 bytes, at least one, of the 8 messages of a,
// and of b, into their accumulators. The pointers stay.
//
//go:noescape
func poly8(a, b *mac8, chunks int)

// poly8one is poly8 for 8 messages alone.
//
//go:noescape
func poly8one(a *mac8, chunks int)

// poly8some takes one chunk into the accumulators; bit i of masks[j] is whether
// block j of message i exists. The pointers stay.
//
//go:noescape
func poly8some(a *mac8, masks *[4]uint8)

// wipeRegisters overwrites the vector registers and the masks.
//
//go:noescape
func wipeRegisters()
