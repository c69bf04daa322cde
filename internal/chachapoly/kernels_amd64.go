package chachapoly

import "unsafe"

// The kernels are written by gen; -out is kernels_amd64.s. They are in no way
// dependent on secrets in what they read, write or jump to: addresses, lengths and
// masks are all there is. Those with 16, 32 or 512 in their name need AVX-512 F, BW, VL, DQ
// and IFMA, the others AVX2.

//go:generate go run ./gen -out kernels_amd64.s -pkg chachapoly

// fill sets n lanes from first on, at least one, to blocks of a message, one behind the
// other from p on; it writes to up to 7 lanes more. What p points to is on the
// heap because of this function, and so stays where it is.
func fill(l *lanes, first, n int, p *byte, block, low, high uint32)

// chacha16 xors a block of key stream into the 64 bytes at each of the first 16 dst, as
// far as its mask says; where that is 0 nothing is touched.
//
//go:noescape
func chacha16(state *[13]uint32, l *lanes)

// chacha32 is chacha16 for all lanes.
//
//go:noescape
func chacha32(state *[13]uint32, l *lanes)

// chacha32full is chacha32 for whole blocks, whatever the masks.
//
//go:noescape
func chacha32full(state *[13]uint32, l *lanes)

// chacha2x8 is for the 16 lanes from first on and whole blocks, whatever the masks.
//
//go:noescape
func chacha2x8(state *[13]uint32, l *lanes, first int)

// poly512Begin makes the powers of r of 8 keys, and sets the accumulators to 0.
//
//go:noescape
func poly512Begin(m *mac512, keys *[32]byte)

// poly512Chunks takes that many chunks of 64 bytes, at least one, of the messages of
// some lanes, a bit each, into their accumulators. The pointers stay; those of
// the other lanes are read from, too.
//
//go:noescape
func poly512Chunks(m *mac512, p *[8]unsafe.Pointer, chunks int, some uint8)

// poly512End takes the rests of messages, which the pointers point to, and the
// lengths into the accumulators, and makes the tags. Byte j of some tells which lanes
// have a block j of rest, or a part of it.
//
//go:noescape
func poly512End(m *mac512, p *[8]unsafe.Pointer, keys *[32]byte, tags *[2][8]uint64, some uint32)

// poly256Begin makes the powers of r of 4 keys, and sets the accumulators to 0.
//
//go:noescape
func poly256Begin(m *mac256, keys *[32]byte)

// poly256Chunks is poly512Chunks for 4 messages; m knows which of them.
//
//go:noescape
func poly256Chunks(m *mac256, p *[8]unsafe.Pointer, chunks int)

// poly256End takes that many blocks, at least one, of what the pointers point to into
// the accumulators, of the lanes that m tells for each block, and makes the tags: the
// first 4 of each of the two rows of 8 that tags is in. It reads 16 bytes more.
//
//go:noescape
func poly256End(m *mac256, p *[8]unsafe.Pointer, keys *[32]byte, tags *uint64, blocks int)

// wipe512 overwrites the vector registers.
//
//go:noescape
func wipe512()

// wipe256 overwrites the vector registers of AVX2.
//
//go:noescape
func wipe256()
