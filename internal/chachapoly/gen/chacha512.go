package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in lanes (lanes_amd64.go).
const (
	offBlock   = 0    // word 12 of each lane
	offLow     = 192  // word 14
	offHigh    = 384  // word 15
	offDst     = 576  // where its 64 bytes go
	offMask    = 960  // which of them
	offScratch = 1216 // of words: 16 registers
)

// chacha512 makes the function that makes 16 blocks of key stream, or 32, one in each
// 32-bit lane: register i is word i of all of them (RFC 8439 section 2.3), so a
// round is four operations on whole registers. At the end the 16 x 16 words are
// transposed, and each block is xored into what its lane points to.
//
// 32 blocks take all 32 registers, and nothing else is needed in the rounds. The
// operations of one set run while those of the other wait for their operands: a
// processor on which an addition takes two cycles does 32 in little more than the
// time of 16.
func chacha512(name string, sets int, masked bool) {
	function(name)
	state := Load(Param("state"), GP64())
	l := Load(Param("l"), GP64())
	words := []struct{ word, off int }{{12, offBlock}, {14, offLow}, {15, offHigh}}
	for s := range sets {
		for _, w := range words {
			VMOVDQU32(Mem{Base: l, Disp: w.off + 64*s}, zmm(16*s+w.word))
		}
		for i := range 12 {
			VPBROADCASTD(Mem{Base: state, Disp: 4 * i}, zmm(16*s+i))
		}
		VPBROADCASTD(Mem{Base: state, Disp: 4 * 12}, zmm(16*s+13))
	}
	n := GP64()
	MOVQ(U32(10), n)
	Label("rounds")
	quarters(sets, 0, 4, 8, 12)  // columns
	quarters(sets, 0, 5, 10, 15) // diagonals
	DECQ(n)
	JNZ(LabelRef("rounds"))
	if sets == 2 {
		for i := range 16 {
			VMOVDQU32(zmm(16+i), Mem{Base: l, Disp: offScratch + 64*i})
		}
	}
	dst := GP64()
	for s := range sets {
		if s == 1 {
			for i := range 16 {
				VMOVDQU32(Mem{Base: l, Disp: offScratch + 64*i}, zmm(i))
			}
		}
		for i := range 12 {
			VPADDD_BCST(Mem{Base: state, Disp: 4 * i}, zmm(i), zmm(i))
		}
		VPADDD_BCST(Mem{Base: state, Disp: 4 * 12}, zmm(13), zmm(13))
		for _, w := range words {
			VPADDD(Mem{Base: l, Disp: w.off + 64*s}, zmm(w.word), zmm(w.word))
		}
		transpose(func(lane int, key, spare reg.VecPhysical) {
			lane += 16 * s
			MOVQ(Mem{Base: l, Disp: offDst + 8*lane}, dst)
			if !masked {
				VPXORD(Mem{Base: dst}, key, key)
				VMOVDQU32(key, Mem{Base: dst})
				return
			}
			KMOVQ(Mem{Base: l, Disp: offMask + 8*lane}, reg.K1)
			VMOVDQU8_Z(Mem{Base: dst}, reg.K1, spare)
			VPXORD(spare, key, key)
			VMOVDQU8(key, reg.K1, Mem{Base: dst})
		})
	}
	end()
}

// transpose makes blocks of the words in registers 0 to 15 and gives each, with a
// register to use, to store.
func transpose(store func(lane int, key, spare reg.VecPhysical)) {
	// Register 4g+j gets, in each of its quarters q, words 4g to 4g+3 of block 4q+j.
	for g := range 4 {
		a, b, c, d := zmm(4*g), zmm(4*g+1), zmm(4*g+2), zmm(4*g+3)
		t := 16 + 4*g
		VPUNPCKLDQ(b, a, zmm(t))
		VPUNPCKHDQ(b, a, zmm(t+1))
		VPUNPCKLDQ(d, c, zmm(t+2))
		VPUNPCKHDQ(d, c, zmm(t+3))
		VPUNPCKLQDQ(zmm(t+2), zmm(t), a)
		VPUNPCKHQDQ(zmm(t+2), zmm(t), b)
		VPUNPCKLQDQ(zmm(t+3), zmm(t+1), c)
		VPUNPCKHQDQ(zmm(t+3), zmm(t+1), d)
	}
	for j := range 4 {
		u := [4]reg.VecPhysical{zmm(j), zmm(4 + j), zmm(8 + j), zmm(12 + j)}
		t := 16 + 8*(j%2) // two sets, so that one need not wait for the other
		for q, b := range quarterTranspose(u, t) {
			store(4*q+j, b, zmm(j))
		}
	}
}

// quarterTranspose transposes the 4 x 4 quarters of u, by way of registers t to
// t+7: result q is the quarters q of all of them.
func quarterTranspose(u [4]reg.VecPhysical, t int) [4]reg.VecPhysical {
	v := [4]reg.VecPhysical{zmm(t), zmm(t + 1), zmm(t + 2), zmm(t + 3)}
	VSHUFI64X2(U8(0x44), u[1], u[0], v[0])
	VSHUFI64X2(U8(0xee), u[1], u[0], v[1])
	VSHUFI64X2(U8(0x44), u[3], u[2], v[2])
	VSHUFI64X2(U8(0xee), u[3], u[2], v[3])
	w := [4]reg.VecPhysical{zmm(t + 4), zmm(t + 5), zmm(t + 6), zmm(t + 7)}
	VSHUFI64X2(U8(0x88), v[2], v[0], w[0])
	VSHUFI64X2(U8(0xdd), v[2], v[0], w[1])
	VSHUFI64X2(U8(0x88), v[3], v[1], w[2])
	VSHUFI64X2(U8(0xdd), v[3], v[1], w[3])
	return w
}

// quarters does the quarter rounds of four columns, or diagonals, side by side, in
// that many sets of 16 registers. The arguments are the words of the first; those of
// the others follow in each row.
func quarters(sets, a, b, c, d int) {
	row := func(set, first, i int) reg.VecPhysical { return zmm(16*set + first&^3 + (first+i)&3) }
	each := func(f func(s, i int)) {
		for s := range sets {
			for i := range 4 {
				f(s, i)
			}
		}
	}
	step := func(x, y, z, rotate int) { // x += y; z = (z ^ x) <<< rotate
		each(func(s, i int) { VPADDD(row(s, y, i), row(s, x, i), row(s, x, i)) })
		each(func(s, i int) { VPXORD(row(s, x, i), row(s, z, i), row(s, z, i)) })
		each(func(s, i int) { VPROLD(U8(rotate), row(s, z, i), row(s, z, i)) })
	}
	step(a, b, d, 16)
	step(c, d, b, 12)
	step(a, b, d, 8)
	step(c, d, b, 7)
}
