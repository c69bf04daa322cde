package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in mac256 (mac_amd64.go). Everything is 4 lanes of 64 bits.
const (
	off256H    = 0                        // five limbs
	off256R    = off256H + 5*32           // r^4, r^3, r^2, r: five limbs of each, and 5 times the upper four
	off256Some = off256R + 4*power256Size // masks of lanes: for chunks; for each block of the end

	power256Size = 9 * 32
)

// Numbers are five limbs of 26 bits, in registers 0 to 4 for sums and 5 to 9 for a
// factor: products of 32 bits by 32 bits are what AVX2 has.
var (
	sum256    = [5]reg.VecPhysical{ymm(0), ymm(1), ymm(2), ymm(3), ymm(4)}
	factor256 = [5]reg.VecPhysical{ymm(5), ymm(6), ymm(7), ymm(8), ymm(9)}
	spare256  = ymm(10)
	mask26    = ymm(11)
)

// poly256 makes the functions of Poly1305 (RFC 8439 section 2.5) of 4 messages, one
// in each 64-bit lane.
func poly256() {
	c := GLOBL("constants256", attr.RODATA|attr.NOPTR)
	for i, v := range []uint64{
		1<<26 - 1, 1 << 24, 1 << 26, 5, 1 << 63,
		0x0ffffffc0fffffff, 0x0ffffffc0ffffffc, // RFC 8439 section 2.5
	} {
		for lane := range 4 {
			DATA(32*i+8*lane, U64(v))
		}
	}
	constant := func(i int) Mem { return c.Offset(32 * i) }
	poly256Begin(constant)
	poly256Chunks(constant)
	poly256End(constant)
}

// The constants by name.
const (
	cMask26 = iota
	cBit24
	cBit26
	cFive
	cBit63
	cClampLo
	cClampHi
)

// half256 makes of 32 bytes at each of 4 addresses their words 0 and 1, and 2 and 3, in
// lanes: two blocks, in registers 12 to 15. It uses registers 5 to 9.
func half256(rows [4]Mem) (lo, hi [2]reg.VecPhysical) {
	for i := range 4 {
		VMOVDQU(rows[i], ymm(12+i))
	}
	even, odd := [2]reg.VecPhysical{ymm(5), ymm(6)}, [2]reg.VecPhysical{ymm(7), ymm(8)}
	for i := range 2 {
		VPUNPCKLQDQ(ymm(13+2*i), ymm(12+2*i), even[i])
		VPUNPCKHQDQ(ymm(13+2*i), ymm(12+2*i), odd[i])
	}
	lo, hi = [2]reg.VecPhysical{ymm(12), ymm(13)}, [2]reg.VecPhysical{ymm(14), ymm(15)}
	for i, which := range []uint8{0x20, 0x31} {
		VPERM2I128(U8(which), even[1], even[0], lo[i])
		VPERM2I128(U8(which), odd[1], odd[0], hi[i])
	}
	return lo, hi
}

// split256 makes limbs of 128 bits, in factor256.
func split256(lo, hi reg.VecPhysical) {
	f := factor256
	VPAND(mask26, lo, f[0])
	VPSRLQ(U8(26), lo, f[1])
	VPAND(mask26, f[1], f[1])
	VPSRLQ(U8(52), lo, f[2])
	VPSLLQ(U8(12), hi, spare256)
	VPOR(spare256, f[2], f[2])
	VPAND(mask26, f[2], f[2])
	VPSRLQ(U8(14), hi, f[3])
	VPAND(mask26, f[3], f[3])
	VPSRLQ(U8(40), hi, f[4])
}

// addBlock256 puts the accumulator plus a block into factor256.
func addBlock256(m reg.Register, constant func(int) Mem, lo, hi reg.VecPhysical) {
	split256(lo, hi)
	VPOR(constant(cBit24), factor256[4], factor256[4])
	for i, f := range factor256 {
		VPADDQ(Mem{Base: m, Disp: off256H + 32*i}, f, f)
	}
}

// multiply256 adds the products of factor256 and a power of r to the sums, or begins
// them.
func multiply256(m reg.Register, power int, begin bool) {
	for i, f := range factor256 {
		for j := range 5 {
			// f_i r_j, or beyond the last limb 5 times that.
			to, at := i+j, j
			if to > 4 {
				to, at = to-5, 4+j
			}
			by := Mem{Base: m, Disp: off256R + power*power256Size + 32*at}
			if begin && i == 0 {
				VPMULUDQ(by, f, sum256[to])
				continue
			}
			VPMULUDQ(by, f, spare256)
			VPADDQ(spare256, sum256[to], sum256[to])
		}
	}
}

// carry256 makes limbs of the sums. For up to 4 products of factors below 2^28 and
// 2^29 sums are below 2^62. Limbs 1 and 4 may have a bit more than 26 afterwards.
func carry256() {
	c := spare256
	from := func(i int) {
		VPSRLQ(U8(26), sum256[i], c)
		VPAND(mask26, sum256[i], sum256[i])
		if i < 4 {
			VPADDQ(c, sum256[i+1], sum256[i+1])
			return
		}
		VPADDQ(c, sum256[0], sum256[0]) // 2^130 is 5
		VPSLLQ(U8(2), c, c)
		VPADDQ(c, sum256[0], sum256[0])
	}
	for _, i := range []int{0, 3, 1, 4, 2, 0, 3} {
		from(i)
	}
}

// store256 stores the sums as the accumulators of the lanes that the mask at some has,
// or of all.
func store256(m reg.Register, some ...Mem) {
	for i, s := range sum256 {
		h := Mem{Base: m, Disp: off256H + 32*i}
		if len(some) == 0 {
			VMOVDQU(s, h)
			continue
		}
		VMOVDQU(h, factor256[i])
		VMOVDQU(some[0], spare256)
		VPBLENDVB(spare256, s, factor256[i], s)
		VMOVDQU(s, h)
	}
}

// keyRows are 32 bytes of 4 keys.
func keyRows(keys reg.Register) (rows [4]Mem) {
	for i := range rows {
		rows[i] = Mem{Base: keys, Disp: 32 * i}
	}
	return rows
}

// poly256Begin makes r and its powers of the keys, and sets the accumulators to 0.
func poly256Begin(constant func(int) Mem) {
	function("poly256Begin")
	m := Load(Param("m"), GP64())
	keys := Load(Param("keys"), GP64())
	VMOVDQU(constant(cMask26), mask26)
	for i := range 5 {
		VPXOR(sum256[i], sum256[i], sum256[i])
	}
	store256(m)
	lo, hi := half256(keyRows(keys))
	VPAND(constant(cClampLo), lo[0], lo[0])
	VPAND(constant(cClampHi), hi[0], hi[0])
	split256(lo[0], hi[0])
	storePower256(m, 3, factor256)
	for _, power := range []int{2, 1, 0} { // r^2, r^3, r^4: each is the last one times r
		multiply256(m, 3, true)
		carry256()
		storePower256(m, power, sum256)
		for i := range 5 {
			VMOVDQA(sum256[i], factor256[i])
		}
	}
	end()
}

// storePower256 stores a power of r and 5 times its upper limbs.
func storePower256(m reg.Register, power int, p [5]reg.VecPhysical) {
	off := off256R + power*power256Size
	for i := range 5 {
		VMOVDQU(p[i], Mem{Base: m, Disp: off + 32*i})
	}
	for i := 1; i < 5; i++ {
		VPSLLQ(U8(2), p[i], spare256)
		VPADDQ(p[i], spare256, spare256)
		VMOVDQU(spare256, Mem{Base: m, Disp: off + 32*(4+i)})
	}
}

// poly256Chunks takes chunks of 64 bytes, 4 blocks, into the accumulators of some
// lanes: ((h + a) r^4 + b r^3 + c r^2 + d r), with one carry for all of it.
func poly256Chunks(constant func(int) Mem) {
	function("poly256Chunks")
	m := Load(Param("m"), GP64())
	p := Load(Param("p"), GP64())
	n := Load(Param("chunks"), GP64())
	VMOVDQU(constant(cMask26), mask26)
	var rows [4]reg.Register
	for i := range rows {
		rows[i] = GP64()
		MOVQ(Mem{Base: p, Disp: 8 * i}, rows[i])
	}
	off := GP64()
	XORQ(off, off)
	Label("chunk")
	// The first block last: it has to wait for the chunk before.
	for _, half := range []int{1, 0} {
		var at [4]Mem
		for i, row := range rows {
			at[i] = Mem{Base: row, Index: off, Scale: 1, Disp: 32 * half}
		}
		lo, hi := half256(at)
		for _, j := range []int{1, 0} {
			block := 2*half + j
			if block == 0 {
				addBlock256(m, constant, lo[j], hi[j])
			} else {
				split256(lo[j], hi[j])
				VPOR(constant(cBit24), factor256[4], factor256[4])
			}
			multiply256(m, block, block == 3)
		}
	}
	carry256()
	store256(m, Mem{Base: m, Disp: off256Some})
	ADDQ(U32(64), off)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	end()
}

// poly256End takes the last blocks, one after the other, and makes the tags.
func poly256End(constant func(int) Mem) {
	function("poly256End")
	m := Load(Param("m"), GP64())
	keys := Load(Param("keys"), GP64())
	tags := Load(Param("tags"), GP64())
	p := Load(Param("p"), GP64())
	n := Load(Param("blocks"), GP64())
	VMOVDQU(constant(cMask26), mask26)
	var rows [4]reg.Register
	for i := range rows {
		rows[i] = GP64()
		MOVQ(Mem{Base: p, Disp: 8 * i}, rows[i])
	}
	some := GP64()
	LEAQ(Mem{Base: m, Disp: off256Some}, some)
	Label("block")
	var at [4]Mem
	for i, row := range rows {
		at[i] = Mem{Base: row}
	}
	lo, hi := half256(at) // of which the first block counts
	addBlock256(m, constant, lo[0], hi[0])
	multiply256(m, 3, true)
	carry256()
	store256(m, Mem{Base: some})
	for _, row := range rows {
		ADDQ(U32(16), row)
	}
	ADDQ(U32(32), some)
	DECQ(n)
	JNZ(LabelRef("block"))

	h, c := sum256, spare256
	for i := range 5 {
		VMOVDQU(Mem{Base: m, Disp: off256H + 32*i}, h[i])
	}
	for range 2 {
		for i := range 5 {
			VPSRLQ(U8(26), h[i], c)
			VPAND(mask26, h[i], h[i])
			if i < 4 {
				VPADDQ(c, h[i+1], h[i+1])
				continue
			}
			VPADDQ(c, h[0], h[0])
			VPSLLQ(U8(2), c, c)
			VPADDQ(c, h[0], h[0])
		}
	}
	VPSRLQ(U8(26), h[0], c)
	VPAND(mask26, h[0], h[0])
	VPADDQ(c, h[1], h[1])
	// g = h - p, which is h + 5 - 2^130, is what is left where that is not negative.
	g := factor256
	VPADDQ(constant(cFive), h[0], g[0])
	for i := 1; i < 5; i++ {
		VPSRLQ(U8(26), g[i-1], c)
		VPADDQ(c, h[i], g[i])
		VPAND(mask26, g[i-1], g[i-1])
	}
	VPSUBQ(constant(cBit26), g[4], g[4])
	for i := range 5 {
		// The sign of each lane's g[4], which VBLENDVPD takes alone.
		VBLENDVPD(g[4], h[i], g[i], h[i])
	}
	// 128 bits of it, plus s.
	lo0, hi0 := ymm(5), ymm(6)
	VPSLLQ(U8(26), h[1], lo0)
	VPOR(h[0], lo0, lo0)
	VPSLLQ(U8(52), h[2], c)
	VPOR(c, lo0, lo0)
	VPSRLQ(U8(12), h[2], hi0)
	VPSLLQ(U8(14), h[3], c)
	VPOR(c, hi0, hi0)
	VPSLLQ(U8(40), h[4], c)
	VPOR(c, hi0, hi0)
	VMOVDQA(lo0, ymm(0))
	VMOVDQA(hi0, ymm(1))
	s, t := half256(keyRows(keys))
	VPADDQ(s[1], ymm(0), ymm(0))
	VPADDQ(t[1], ymm(1), ymm(1))
	// Less than s, as numbers without a sign: there was a carry.
	VPXOR(constant(cBit63), s[1], s[1])
	VPXOR(constant(cBit63), ymm(0), ymm(2))
	VPCMPGTQ(ymm(2), s[1], ymm(3))
	VPSUBQ(ymm(3), ymm(1), ymm(1))
	VMOVDQU(ymm(0), Mem{Base: tags})
	VMOVDQU(ymm(1), Mem{Base: tags, Disp: 64})
	end()
}
