package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in mac8 (batch_amd64.go).
const (
	offH = 0       // three limbs of 8 lanes
	offR = 3 * 64  // likewise
	offS = 6 * 64  // 20 r1, 20 r2
	offM = 8 * 64  // masks: 2^44-1, 2^42-1; 2^40
	offP = 11 * 64 // 8 pointers
)

// poly8 makes the function that takes chunks of 64 bytes, 4 blocks, of 8 messages
// into their accumulators (RFC 8439 section 2.5.1): a message in each 64-bit lane.
// Numbers are 44 + 44 + 42 bits, so that products fit the 52-bit multiplication
// of AVX-512 IFMA.
func poly8() {
	for _, groups := range []int{1, 2} {
		function([]string{"poly8one", "poly8"}[groups-1])
		// Two groups, as each waits for its own results most of the time.
		macs := []reg.Register{GP64(), GP64()}[:groups]
		n, off := GP64(), GP64()
		for i, m := range macs {
			Load(Param([]string{"a", "b"}[i]), m)
			loadH(m, 3*i)
		}
		Load(Param("chunks"), n)
		consts(macs[0])
		XORQ(off, off)
		Label("chunk")
		for i, m := range macs {
			chunk(m, off, 3*i, false)
		}
		ADDQ(U32(64), off)
		DECQ(n)
		JNZ(LabelRef("chunk"))
		for i, m := range macs {
			storeH(m, 3*i)
		}
		end()
	}

	function("poly8some")
	a, masks, off := GP64(), GP64(), GP64()
	Load(Param("a"), a)
	Load(Param("masks"), masks)
	consts(a)
	loadH(a, 0)
	bits := GP32()
	for i := range 4 {
		MOVBLZX(Mem{Base: masks, Disp: i}, bits)
		KMOVW(bits, k(1+i))
	}
	XORQ(off, off)
	chunk(a, off, 0, true)
	storeH(a, 0)
	end()
}

// Registers: 0 to 2 and 3 to 5 the accumulators, 29 to 31 constants.
var mask44, mask42, bit40 = zmm(29), zmm(30), zmm(31)

func consts(m reg.Register) {
	for i, z := range []reg.VecPhysical{mask44, mask42, bit40} {
		VMOVDQU64(Mem{Base: m, Disp: offM + 64*i}, z)
	}
}

func loadH(m reg.Register, first int) {
	for i := range 3 {
		VMOVDQU64(Mem{Base: m, Disp: offH + 64*i}, zmm(first+i))
	}
}

func storeH(m reg.Register, first int) {
	for i := range 3 {
		VMOVDQU64(zmm(first+i), Mem{Base: m, Disp: offH + 64*i})
	}
}

// chunk is 4 blocks of each message at the pointers plus off; h is the first
// register of the accumulator.
func chunk(m, off reg.Register, h int, masked bool) {
	// Rows 6 to 13: 64 bytes of each message.
	ptr := GP64()
	for i := range 8 {
		MOVQ(Mem{Base: m, Disp: offP + 8*i}, ptr)
		VMOVDQU64(Mem{Base: ptr, Index: off, Scale: 1}, zmm(6+i))
	}
	// 14 to 17: even words of pairs of messages; 18 to 21: the odd ones.
	var even, odd [4]reg.VecPhysical
	for i := range 4 {
		even[i], odd[i] = zmm(14+i), zmm(18+i)
		VPUNPCKLQDQ(zmm(7+2*i), zmm(6+2*i), even[i])
		VPUNPCKHQDQ(zmm(7+2*i), zmm(6+2*i), odd[i])
	}
	// Word 2i, and 2i+1, of all messages: block i.
	lo := quarterTranspose(even, 6) // to 10..13
	hi := quarterTranspose(odd, 14) // to 18..21
	for i := range 4 {
		block(m, h, lo[i], hi[i], k(1+i), masked)
	}
}

// block takes the block lo, hi of each lane into the accumulator: (h + m) r.
func block(m reg.Register, h int, lo, hi reg.VecPhysical, some reg.OpmaskPhysical, masked bool) {
	h0, h1, h2 := zmm(h), zmm(h+1), zmm(h+2)
	x0, x1, x2 := zmm(6), zmm(7), zmm(8) // h + m
	t := zmm(9)
	VPANDQ(mask44, lo, x0)
	VPSRLQ(U8(44), lo, x1)
	VPSLLQ(U8(20), hi, t)
	VPORQ(t, x1, x1)
	VPANDQ(mask44, x1, x1)
	VPSRLQ(U8(24), hi, x2)
	VPORQ(bit40, x2, x2)
	VPADDQ(h0, x0, x0)
	VPADDQ(h1, x1, x1)
	VPADDQ(h2, x2, x2)

	l := []reg.VecPhysical{zmm(22), zmm(23), zmm(24)}
	u := []reg.VecPhysical{zmm(25), zmm(26), zmm(27)}
	for i := range 3 {
		VPXORQ(l[i], l[i], l[i])
		VPXORQ(u[i], u[i], u[i])
	}
	r := func(i int) Mem { return Mem{Base: m, Disp: offR + 64*i} }
	s := func(i int) Mem { return Mem{Base: m, Disp: offS + 64*(i-1)} } // 20 r_i
	for _, term := range []struct {
		x   reg.VecPhysical
		by  Mem
		sum int
	}{
		{x2, s(1), 0}, {x2, s(2), 1}, {x2, r(0), 2},
		{x0, r(0), 0}, {x0, r(1), 1}, {x0, r(2), 2},
		{x1, s(2), 0}, {x1, r(0), 1}, {x1, r(1), 2},
	} {
		VPMADD52LUQ(term.by, term.x, l[term.sum])
		VPMADD52HUQ(term.by, term.x, u[term.sum])
	}
	// Carry: the upper halves count 2^52, which is 2^8 of the next limb; beyond
	// the last one 2^130 is 5.
	c := zmm(28)
	VPSLLQ(U8(8), u[0], u[0])
	VPSLLQ(U8(8), u[1], u[1])
	VPSLLQ(U8(10), u[2], u[2])
	VPADDQ(u[0], l[1], l[1])
	VPADDQ(u[1], l[2], l[2])
	VPSRLQ(U8(44), l[0], c)
	VPANDQ(mask44, l[0], l[0])
	VPADDQ(c, l[1], l[1])
	VPSRLQ(U8(44), l[1], c)
	VPANDQ(mask44, l[1], l[1])
	VPADDQ(c, l[2], l[2])
	VPSRLQ(U8(42), l[2], c)
	VPANDQ(mask42, l[2], l[2])
	VPADDQ(u[2], c, c)
	VPADDQ(c, l[0], l[0])
	VPSLLQ(U8(2), c, c)
	VPADDQ(c, l[0], l[0])
	VPSRLQ(U8(44), l[0], c)
	VPANDQ(mask44, l[0], l[0])
	VPADDQ(c, l[1], l[1])
	for i, to := range []reg.VecPhysical{h0, h1, h2} {
		if masked {
			VMOVDQA64(l[i], some, to)
		} else {
			VMOVDQA64(l[i], to)
		}
	}
}
