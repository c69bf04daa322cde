package chachapoly

// The kernels are written by gen; -out is kernels_amd64.s. Those of AVX-512 need F,
// BW, VL, DQ and IFMA. They are in no way dependent on secrets in what they read,
// write or jump to: addresses, lengths and masks are all there is.

//go:generate go run ./gen -out kernels_amd64.s -pkg chachapoly

// chacha16 xors a block of key stream into what each of the first 16 lanes points to,
// where its mask says.
//
//go:noescape
func chacha16(state *[13]uint32, l *lanes512)

// chacha32 is chacha16 for all lanes.
//
//go:noescape
func chacha32(state *[13]uint32, l *lanes512)

// chacha32full is chacha32 for whole blocks, whatever the masks.
//
//go:noescape
func chacha32full(state *[13]uint32, l *lanes512)

// polyBegin makes the powers of r of the 8 keys, and sets the accumulators to 0.
//
//go:noescape
func polyBegin(m *mac512, keys *[32]byte)

// polyChunks takes that many chunks of 64 bytes, at least one, of the messages of some
// lanes, a bit each, into their accumulators. The pointers stay; those of the
// other lanes are read from, too.
//
//go:noescape
func polyChunks(m *mac512, chunks int, some uint8)

// polyEnd takes the rests of messages, which the pointers point to, and the lengths
// into the accumulators, and makes the tags. Byte j of some tells which lanes have a
// block j of rest, or a part of it.
//
//go:noescape
func polyEnd(m *mac512, keys *[32]byte, some uint32)

// wipeRegisters overwrites the vector registers.
//
//go:noescape
func wipeRegisters()
