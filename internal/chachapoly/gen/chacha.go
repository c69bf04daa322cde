package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in lanes (batch_amd64.go).
const (
	offBlock = 0   // word 12 of each lane
	offLow   = 64  // word 14
	offHigh  = 128 // word 15
	offDst   = 192 // where its 64 bytes go
	offMask  = 320 // which of them
)

// newCount is the numbers 0 to 15.
func newCount() Mem {
	m := GLOBL("count", attr.RODATA|attr.NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)))
	}
	return m
}

// chacha16 makes 16 blocks of key stream, one in each 32-bit lane: register i is
// word i of all of them (RFC 8439 section 2.3), so a round is four operations on
// whole registers. At the end the 16 x 16 words are transposed, and each block is
// xored into what its lane points to.
func chacha16() {
	function("chacha16")
	state := Load(Param("state"), GP64())
	l := Load(Param("l"), GP64())
	words := []struct {
		word, off int
	}{{12, offBlock}, {14, offLow}, {15, offHigh}}
	for _, w := range words {
		VMOVDQU32(Mem{Base: l, Disp: w.off}, zmm(w.word))
	}
	rounds(state)
	for _, w := range words {
		VPADDD(Mem{Base: l, Disp: w.off}, zmm(w.word), zmm(w.word))
	}
	dst := GP64()
	transpose(func(lane int, key, plain reg.VecPhysical) {
		KMOVQ(Mem{Base: l, Disp: offMask + 8*lane}, reg.K1)
		MOVQ(Mem{Base: l, Disp: offDst + 8*lane}, dst)
		VMOVDQU8_Z(Mem{Base: dst}, reg.K1, plain)
		VPXORD(plain, key, key)
		VMOVDQU8(key, reg.K1, Mem{Base: dst})
	})
	end()
}

// chachaRun is chacha16 for 16 blocks of one message, one behind the other.
func chachaRun(count Mem) {
	function("chachaRun")
	state := Load(Param("state"), GP64())
	dst := Load(Param("dst"), GP64())
	start := func(block, low, high reg.VecPhysical) {
		b, lo, hi := GP32(), GP32(), GP32()
		Load(Param("block"), b)
		Load(Param("low"), lo)
		Load(Param("high"), hi)
		VPBROADCASTD(b, block)
		VPADDD(count, block, block)
		VPBROADCASTD(lo, low)
		VPBROADCASTD(hi, high)
	}
	start(zmm(12), zmm(14), zmm(15))
	rounds(state)
	start(zmm(16), zmm(17), zmm(18))
	VPADDD(zmm(16), zmm(12), zmm(12))
	VPADDD(zmm(17), zmm(14), zmm(14))
	VPADDD(zmm(18), zmm(15), zmm(15))
	transpose(func(lane int, key, _ reg.VecPhysical) {
		VPXORD(Mem{Base: dst, Disp: 64 * lane}, key, key)
		VMOVDQU32(key, Mem{Base: dst, Disp: 64 * lane})
	})
	end()
}

// rounds does all of them on a state whose words 12, 14 and 15 are there, and adds
// what the others were at first.
func rounds(state reg.Register) {
	for i := range 12 {
		VPBROADCASTD(Mem{Base: state, Disp: 4 * i}, zmm(i))
	}
	VPXORD(zmm(13), zmm(13), zmm(13))
	n := GP64()
	MOVQ(U32(10), n)
	Label("rounds")
	quarters(0, 4, 8, 12)  // columns
	quarters(0, 5, 10, 15) // diagonals
	DECQ(n)
	JNZ(LabelRef("rounds"))
	for i := range 12 {
		VPADDD_BCST(Mem{Base: state, Disp: 4 * i}, zmm(i), zmm(i))
	}
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

// quarters does the quarter rounds of four columns, or diagonals, side by side.
// The arguments are the words of the first; those of the others follow in each row.
func quarters(a, b, c, d int) {
	row := func(first, i int) reg.VecPhysical { return zmm(first&^3 + (first+i)&3) }
	step := func(x, y, z, rotate int) { // x += y; z = (z ^ x) <<< rotate
		for i := range 4 {
			VPADDD(row(y, i), row(x, i), row(x, i))
		}
		for i := range 4 {
			VPXORD(row(x, i), row(z, i), row(z, i))
		}
		for i := range 4 {
			VPROLD(U8(rotate), row(z, i), row(z, i))
		}
	}
	step(a, b, d, 16)
	step(c, d, b, 12)
	step(a, b, d, 8)
	step(c, d, b, 7)
}
