package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in mac512 (mac_amd64.go). Everything is 8 lanes of 64 bits.
const (
	offH    = 0                  // three limbs
	offR    = offH + 3*64        // r^4, r^3, r^2, r: three limbs of each, and 20 times the upper two
	offN    = offR + 4*powerSize // lengths
	offTail = offN + 64          // masks of bytes

	powerSize = 5 * 64
)

// Offsets in constants.
const (
	constMask44  = 0
	constMask42  = 8
	constBit40   = 16
	constClampLo = 24
	constClampHi = 32
	constFive    = 40
	constOrder   = 64 // 8 numbers: the order in which columns finds the keys
)

func newConstants() Mem {
	m := GLOBL("constants", attr.RODATA|attr.NOPTR)
	for i, c := range []uint64{
		1<<44 - 1, 1<<42 - 1, 1 << 40,
		0x0ffffffc0fffffff, 0x0ffffffc0ffffffc, // RFC 8439 section 2.5
		5,
	} {
		DATA(8*i, U64(c))
	}
	for i, lane := range []uint64{0, 2, 1, 3, 4, 6, 5, 7} {
		DATA(constOrder+8*i, U64(lane))
	}
	return m
}

// limbs are the registers of one number, of 44, 44 and 42 bits and a few more, so
// that products fit the 52-bit multiplication of AVX-512 IFMA.
type limbs [3]reg.VecPhysical

var (
	acc   = limbs{zmm(0), zmm(1), zmm(2)}   // the accumulator
	lower = limbs{zmm(3), zmm(4), zmm(5)}   // sums of products: lower halves
	upper = limbs{zmm(6), zmm(7), zmm(8)}   // upper halves
	x     = limbs{zmm(9), zmm(10), zmm(11)} // a factor
	spare = zmm(12)

	mask44, mask42, bit40 = zmm(29), zmm(30), zmm(31)
)

// poly512 makes the functions of Poly1305 (RFC 8439 section 2.5) of 8 messages, one
// in each 64-bit lane.
func poly512() {
	constants := newConstants()
	polyBegin(constants)
	polyChunks(constants)
	polyEnd(constants)
}

func loadMasks(constants Mem) {
	VPBROADCASTQ(constants.Offset(constMask44), mask44)
	VPBROADCASTQ(constants.Offset(constMask42), mask42)
	VPBROADCASTQ(constants.Offset(constBit40), bit40)
}

// polyBegin makes r and its powers of the keys, and sets the accumulators to 0.
func polyBegin(constants Mem) {
	function("poly512Begin")
	m := Load(Param("m"), GP64())
	keys := Load(Param("keys"), GP64())
	loadMasks(constants)
	lo, hi := columns(constants, keys, 0x88)
	VPANDQ_BCST(constants.Offset(constClampLo), lo, lo)
	VPANDQ_BCST(constants.Offset(constClampHi), hi, hi)
	split(lo, hi, acc)
	storePower(m, 3, acc)
	for i := range 3 {
		VPXORQ(x[i], x[i], x[i])
		VMOVDQU64(x[i], Mem{Base: m, Disp: offH + 64*i})
	}
	for _, power := range []int{2, 1, 0} { // r^2, r^3, r^4: each is the last one times r
		timesR(m, acc)
		storePower(m, power, acc)
	}
	end()
}

// columns gives words 0 and 1 of the 8 keys of 4 words each (0x88), or 2 and 3
// (0xdd), in lanes.
func columns(constants Mem, keys reg.Register, which uint8) (even, odd reg.VecPhysical) {
	for i := range 4 {
		VMOVDQU64(Mem{Base: keys, Disp: 64 * i}, zmm(13+i))
	}
	VMOVDQU64(constants.Offset(constOrder), zmm(17))
	even, odd = zmm(18), zmm(19)
	VPUNPCKLQDQ(zmm(14), zmm(13), zmm(20))
	VPUNPCKLQDQ(zmm(16), zmm(15), zmm(21))
	VSHUFI64X2(U8(which), zmm(21), zmm(20), even)
	VPERMQ(even, zmm(17), even)
	VPUNPCKHQDQ(zmm(14), zmm(13), zmm(20))
	VPUNPCKHQDQ(zmm(16), zmm(15), zmm(21))
	VSHUFI64X2(U8(which), zmm(21), zmm(20), odd)
	VPERMQ(odd, zmm(17), odd)
	return even, odd
}

// storePower stores a power of r and 20 times its upper limbs: what goes beyond
// 2^130 comes back 5 times, and the limbs are 2 bits short of that.
func storePower(m reg.Register, power int, p limbs) {
	off := offR + power*powerSize
	for i := range 3 {
		VMOVDQU64(p[i], Mem{Base: m, Disp: off + 64*i})
	}
	for i := 1; i < 3; i++ {
		VPSLLQ(U8(2), p[i], spare)
		VPSLLQ(U8(4), p[i], x[0])
		VPADDQ(spare, x[0], x[0])
		VMOVDQU64(x[0], Mem{Base: m, Disp: off + 64*(2+i)})
	}
}

// polyChunks takes chunks of 64 bytes, 4 blocks, into the accumulators of some lanes:
// ((h + a) r^4 + b r^3 + c r^2 + d r), with one carry for all of it.
func polyChunks(constants Mem) {
	function("poly512Chunks")
	m := Load(Param("m"), GP64())
	p := Load(Param("p"), GP64())
	n := Load(Param("chunks"), GP64())
	some := Load(Param("some"), GP32())
	KMOVW(some, reg.K1)
	loadMasks(constants)
	for i := range 3 {
		VMOVDQU64(Mem{Base: m, Disp: offH + 64*i}, acc[i])
	}
	var rows [8]reg.Register
	for i := range rows {
		rows[i] = GP64()
		MOVQ(Mem{Base: p, Disp: 8 * i}, rows[i])
	}
	off := GP64()
	XORQ(off, off)
	Label("chunk")
	for i, row := range rows {
		VMOVDQU64(Mem{Base: row, Index: off, Scale: 1}, zmm(13+i))
	}
	lo, hi := blocks()
	clearSums()
	// The first block last: it has to wait for the chunk before.
	for _, j := range []int{1, 2, 3} {
		split(lo[j], hi[j], x)
		VPORQ(bit40, x[2], x[2])
		multiply(m, j, x)
	}
	addBlock(lo[0], hi[0])
	multiply(m, 0, x)
	carry(acc, reg.K1)
	ADDQ(U32(64), off)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	for i := range 3 {
		VMOVDQU64(acc[i], Mem{Base: m, Disp: offH + 64*i})
	}
	end()
}

// blocks makes of rows in registers 13 to 20, 64 bytes of each message, the lower
// and upper words of 4 blocks, in registers 13 to 28.
func blocks() (lo, hi [4]reg.VecPhysical) {
	// Even and odd words of pairs of messages.
	even := [4]reg.VecPhysical{zmm(21), zmm(22), zmm(23), zmm(24)}
	odd := [4]reg.VecPhysical{zmm(25), zmm(26), zmm(27), zmm(28)}
	for i := range 4 {
		VPUNPCKLQDQ(zmm(14+2*i), zmm(13+2*i), even[i])
		VPUNPCKHQDQ(zmm(14+2*i), zmm(13+2*i), odd[i])
	}
	lo = quarterTranspose(even, 13)
	hi = quarterTranspose(odd, 21)
	return lo, hi
}

// split makes limbs of 128 bits.
func split(lo, hi reg.VecPhysical, to limbs) {
	VPSRLQ(U8(44), lo, to[1])
	VPSLLQ(U8(20), hi, spare)
	VPANDQ(mask44, lo, to[0])
	VPTERNLOGQ(U8(0xa8), mask44, spare, to[1]) // (to[1] | spare) & mask44
	VPSRLQ(U8(24), hi, to[2])
}

// addBlock puts the accumulator plus a block, which has one bit more, into x.
func addBlock(lo, hi reg.VecPhysical) {
	split(lo, hi, x)
	VPORQ(bit40, x[2], x[2])
	for i := range 3 {
		VPADDQ(acc[i], x[i], x[i])
	}
}

func clearSums() {
	for i := range 3 {
		VPXORQ(lower[i], lower[i], lower[i])
		VPXORQ(upper[i], upper[i], upper[i])
	}
}

// multiply adds the products of f and a power of r to the sums.
func multiply(m reg.Register, power int, f limbs) {
	r := func(i int) Mem { return Mem{Base: m, Disp: offR + power*powerSize + 64*i} }
	s := func(i int) Mem { return r(2 + i) } // 20 r_i
	for _, term := range []struct {
		f   reg.VecPhysical
		by  Mem
		sum int
	}{
		{f[2], s(1), 0}, {f[2], s(2), 1}, {f[2], r(0), 2},
		{f[0], r(0), 0}, {f[0], r(1), 1}, {f[0], r(2), 2},
		{f[1], s(2), 0}, {f[1], r(0), 1}, {f[1], r(1), 2},
	} {
		// Loaded for both: 72 loads a chunk would be more than there is time for.
		VMOVDQU64(term.by, spare)
		VPMADD52LUQ(spare, term.f, lower[term.sum])
		VPMADD52HUQ(spare, term.f, upper[term.sum])
	}
}

// timesR makes f times r the accumulator, of some lanes.
func timesR(m reg.Register, f limbs, some ...reg.OpmaskPhysical) {
	clearSums()
	multiply(m, 3, f)
	carry(acc, some...)
}

// carry makes limbs of the sums, of some lanes. The upper halves count 2^52, which
// is 2^8 of the next limb; beyond the last one 2^130 is 5. No limb waits for another
// one's carry, which the next chunk would have to wait for.
//
// It holds for 4 products of numbers below 2^47, 2^45 + 2^13 and 2^44, which the sum of
// a block and an accumulator is, and powers of r: the sums are below 2^56 and,
// of upper halves, 2^45, 2^43 and 2^41, and what becomes of them is below 2^46.7,
// 2^44 + 2^13 and 2^42 + 2^13.
func carry(to limbs, some ...reg.OpmaskPhysical) {
	l, u, c := lower, upper, x
	VPSLLQ(U8(8), u[0], u[0])
	VPSLLQ(U8(8), u[1], u[1])
	VPADDQ(u[0], l[1], l[1])
	VPADDQ(u[1], l[2], l[2])
	VPSRLQ(U8(44), l[0], c[0])
	VPSRLQ(U8(44), l[1], c[1])
	VPSRLQ(U8(42), l[2], c[2])
	// u[2] counts 2^10 times 2^130: its lower 34 bits go to the first limb, the others to
	// the second.
	VPSRLQ(U8(34), u[2], spare)
	VPSLLQ(U8(30), u[2], u[2])
	VPSRLQ(U8(20), u[2], u[2])
	VPADDQ(u[2], c[2], c[2])
	VPADDQ(spare, c[0], c[0])
	VPSLLQ(U8(2), spare, spare)
	VPADDQ(spare, c[0], c[0])
	VPSLLQ(U8(2), c[2], spare)
	VPADDQ(spare, c[2], c[2])
	VPANDQ(mask44, l[0], l[0])
	VPANDQ(mask44, l[1], l[1])
	VPANDQ(mask42, l[2], l[2])
	add := func(a, b, to reg.VecPhysical) {
		if len(some) > 0 {
			VPADDQ(a, b, some[0], to)
		} else {
			VPADDQ(a, b, to)
		}
	}
	add(c[2], l[0], to[0])
	add(c[0], l[1], to[1])
	add(c[1], l[2], to[2])
}

// polyEnd takes what is left of each message, less than 64 bytes, and its length,
// and makes the tags.
func polyEnd(constants Mem) {
	function("poly512End")
	m := Load(Param("m"), GP64())
	keys := Load(Param("keys"), GP64())
	p := Load(Param("p"), GP64())
	some := Load(Param("some"), GP64())
	loadMasks(constants)
	for i := range 3 {
		VMOVDQU64(Mem{Base: m, Disp: offH + 64*i}, acc[i])
	}
	TESTQ(some, some)
	JZ(LabelRef("lengths"))
	row := GP64()
	for i := range 8 {
		MOVQ(Mem{Base: p, Disp: 8 * i}, row)
		KMOVQ(Mem{Base: m, Disp: offTail + 8*i}, reg.K1)
		VMOVDQU8_Z(Mem{Base: row}, reg.K1, zmm(13+i))
	}
	lo, hi := blocks()
	for j := range 4 {
		// The byte j of some: which lanes have a block j.
		KMOVQ(some, reg.K1)
		addBlock(lo[j], hi[j])
		timesR(m, x, reg.K1)
		SHRQ(U8(8), some)
		JZ(LabelRef("lengths"))
	}

	Label("lengths")
	// No additional data, so a block of 0 and the length (RFC 8439 section 2.8).
	VPXORQ(zmm(13), zmm(13), zmm(13))
	VMOVDQU64(Mem{Base: m, Disp: offN}, zmm(14))
	addBlock(zmm(13), zmm(14))
	timesR(m, x)
	h := acc
	c := spare
	for range 2 {
		VPSRLQ(U8(44), h[0], c)
		VPANDQ(mask44, h[0], h[0])
		VPADDQ(c, h[1], h[1])
		VPSRLQ(U8(44), h[1], c)
		VPANDQ(mask44, h[1], h[1])
		VPADDQ(c, h[2], h[2])
		VPSRLQ(U8(42), h[2], c)
		VPANDQ(mask42, h[2], h[2])
		VPADDQ(c, h[0], h[0])
		VPSLLQ(U8(2), c, c)
		VPADDQ(c, h[0], h[0])
	}
	VPSRLQ(U8(44), h[0], c)
	VPANDQ(mask44, h[0], h[0])
	VPADDQ(c, h[1], h[1])
	// g = h - p, which is h + 5 - 2^130, is what is left where that is not negative.
	g := x
	VPADDQ_BCST(constants.Offset(constFive), h[0], g[0])
	VPSRLQ(U8(44), g[0], c)
	VPADDQ(c, h[1], g[1])
	VPSRLQ(U8(44), g[1], c)
	VPADDQ(c, h[2], g[2])
	VPANDQ(mask44, g[0], g[0])
	VPANDQ(mask44, g[1], g[1])
	VPADDQ(bit40, bit40, c)
	VPADDQ(c, c, c) // 2^42
	VPSUBQ(c, g[2], g[2])
	VPMOVQ2M(g[2], reg.K1)
	for i := range 3 {
		VMOVDQA64(h[i], reg.K1, g[i])
	}
	// 128 bits of it, plus s.
	tagLo, tagHi := zmm(22), zmm(23)
	VPSLLQ(U8(44), g[1], tagLo)
	VPORQ(g[0], tagLo, tagLo)
	VPSRLQ(U8(20), g[1], tagHi)
	VPSLLQ(U8(24), g[2], c)
	VPORQ(c, tagHi, tagHi)
	sLo, sHi := columns(constants, keys, 0xdd)
	VPADDQ(sLo, tagLo, tagLo)
	VPADDQ(sHi, tagHi, tagHi)
	VPCMPUQ(U8(1), sLo, tagLo, reg.K1) // less: there was a carry
	VPTERNLOGQ(U8(0xff), c, c, c)      // -1
	VPSUBQ(c, tagHi, reg.K1, tagHi)
	tags := Load(Param("tags"), GP64())
	VMOVDQU64(tagLo, Mem{Base: tags})
	VMOVDQU64(tagHi, Mem{Base: tags, Disp: 64})
	end()
}
