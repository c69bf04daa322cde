package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// chacha256 makes chacha2x8: 16 whole blocks of key stream, two sets of 8, one in each
// 32-bit lane of AVX2. Of each set row b, words 4 to 7, has registers, and the
// others wait in memory: what a quarter round reads first is what the last one
// wrote last, and that is row b. Two sets, so that one has work to do while the
// other waits for its own results.
func chacha256() {
	rotate := GLOBL("rotate", attr.RODATA|attr.NOPTR) // how VPSHUFB rotates words by 16 and by 8
	for row, by := range []int{2, 3} {
		for i := range 32 {
			DATA(32*row+i, U8(i&12+(i+by)&3))
		}
	}
	function("chacha2x8")
	state := Load(Param("state"), GP64())
	l := Load(Param("l"), GP64())
	first := Load(Param("first"), GP64())
	word := func(set, i int) Mem { return Mem{Base: l, Disp: offScratch + 512*set + 32*i} }
	words := GP64() // of l: those of the first lane
	LEAQ(Mem{Base: l, Index: first, Scale: 4}, words)
	differ := map[int]int{12: offBlock, 14: offLow, 15: offHigh}
	for i := range 16 {
		off, ok := differ[i]
		if !ok {
			VPBROADCASTD(stateWord(state, i), ymm(8))
		}
		for set := range 2 {
			if ok {
				VMOVDQU(Mem{Base: words, Disp: off + 32*set}, ymm(8))
			}
			if i/4 == 1 {
				VMOVDQA(ymm(8), ymm(4*set+i&3))
			} else {
				VMOVDQU(ymm(8), word(set, i))
			}
		}
	}
	n := GP64()
	MOVQ(U32(10), n)
	Label("rounds")
	for diagonal := range 2 {
		for i := range 4 {
			quarter256(rotate, word, i, 4+(i+diagonal)&3, 8+(i+2*diagonal)&3, 12+(i+3*diagonal)&3)
		}
	}
	DECQ(n)
	JNZ(LabelRef("rounds"))

	for set := range 2 {
		for i := range 4 {
			VMOVDQU(ymm(4*set+i), word(set, 4+i))
		}
	}
	dsts := GP64()
	LEAQ(Mem{Base: l, Index: first, Scale: 8, Disp: offDst}, dsts)
	dst := GP64()
	for set := range 2 {
		for half := range 2 {
			for i := range 8 {
				at := 8*half + i
				if off, ok := differ[at]; ok {
					VMOVDQU(Mem{Base: words, Disp: off + 32*set}, ymm(i))
				} else {
					VPBROADCASTD(stateWord(state, at), ymm(i))
				}
				VPADDD(word(set, at), ymm(i), ymm(i))
			}
			for lane, key := range transpose256() {
				MOVQ(Mem{Base: dsts, Disp: 8 * (8*set + lane)}, dst)
				VPXOR(Mem{Base: dst, Disp: 32 * half}, key, key)
				VMOVDQU(key, Mem{Base: dst, Disp: 32 * half})
			}
		}
	}
	end()
}

// fillLanes makes fill.
func fillLanes() {
	numbers := GLOBL("numbers", attr.RODATA|attr.NOPTR) // of 8 blocks; offsets of 4
	for i := range 8 {
		DATA(4*i, U32(uint32(i)))
	}
	for i := range 4 {
		DATA(32+8*i, U64(uint64(64*i)))
	}
	numbers8 := GLOBL("numbers8", attr.RODATA|attr.NOPTR) // what is added for the next 8, and 4
	DATA(0, U32(8))
	DATA(8, U64(4*64))

	function("fill")
	l := Load(Param("l"), GP64())
	first := Load(Param("first"), GP64())
	n := Load(Param("n"), GP64())
	words, dsts := GP64(), GP64()
	LEAQ(Mem{Base: l, Index: first, Scale: 4}, words)
	LEAQ(Mem{Base: l, Index: first, Scale: 8, Disp: offDst}, dsts)
	for i, name := range []string{"block", "low", "high"} {
		VMOVD(Load(Param(name), GP32()), xmm(i))
		VPBROADCASTD(xmm(i), ymm(i))
	}
	VMOVQ(Load(Param("p"), GP64()), xmm(3))
	VPBROADCASTQ(xmm(3), ymm(3))
	VPADDQ(numbers.Offset(32), ymm(3), ymm(3))
	VPADDD(numbers, ymm(0), ymm(0))
	VPBROADCASTD(numbers8, ymm(4))
	VPBROADCASTQ(numbers8.Offset(8), ymm(5))
	Label("lanes")
	for i, off := range []int{offBlock, offLow, offHigh} {
		VMOVDQU(ymm(i), Mem{Base: words, Disp: off})
	}
	VPADDD(ymm(4), ymm(0), ymm(0))
	for i := range 2 {
		VMOVDQU(ymm(3), Mem{Base: dsts, Disp: 32 * i})
		VPADDQ(ymm(5), ymm(3), ymm(3))
	}
	ADDQ(U32(32), words)
	ADDQ(U32(64), dsts)
	SUBQ(U32(8), n)
	JG(LabelRef("lanes"))
	end()
}

// stateWord is where a word is that is the same for all messages: 13 is the last.
func stateWord(state reg.Register, i int) Mem {
	return Mem{Base: state, Disp: 4 * min(i, 12)}
}

// transpose256 transposes registers 0 to 7, by way of 8 to 15: result i has lane i
// of each.
func transpose256() (lanes [8]reg.VecPhysical) {
	for i := 0; i < 8; i += 2 {
		VPUNPCKLDQ(ymm(i+1), ymm(i), ymm(8+i))
		VPUNPCKHDQ(ymm(i+1), ymm(i), ymm(9+i))
	}
	for i := 0; i < 8; i += 4 { // register i+j: words i to i+3 of lanes j and 4+j
		VPUNPCKLQDQ(ymm(10+i), ymm(8+i), ymm(i))
		VPUNPCKHQDQ(ymm(10+i), ymm(8+i), ymm(i+1))
		VPUNPCKLQDQ(ymm(11+i), ymm(9+i), ymm(i+2))
		VPUNPCKHQDQ(ymm(11+i), ymm(9+i), ymm(i+3))
	}
	for j := range 4 {
		lanes[j], lanes[4+j] = ymm(8+j), ymm(12+j)
		VPERM2I128(U8(0x20), ymm(4+j), ymm(j), lanes[j])
		VPERM2I128(U8(0x31), ymm(4+j), ymm(j), lanes[4+j])
	}
	return lanes
}

// quarter256 does a quarter round of both sets, on words a, b, c and d.
func quarter256(rotate Mem, word func(set, i int) Mem, a, b, c, d int) {
	type set struct{ a, b, c, d, spare reg.VecPhysical }
	both := func(f func(n int, s set)) {
		for n := range 2 {
			f(n, set{ymm(8 + n), ymm(4*n + b&3), ymm(10 + n), ymm(12 + n), ymm(14 + n)})
		}
	}
	shift := func(by int) {
		both(func(_ int, s set) { VPSLLD(U8(by), s.b, s.spare) })
		both(func(_ int, s set) { VPSRLD(U8(32-by), s.b, s.b) })
		both(func(_ int, s set) { VPOR(s.spare, s.b, s.b) })
	}
	both(func(n int, s set) { VPADDD(word(n, a), s.b, s.a) })
	both(func(n int, s set) { VPXOR(word(n, d), s.a, s.d) })
	both(func(_ int, s set) { VPSHUFB(rotate, s.d, s.d) })
	both(func(n int, s set) { VPADDD(word(n, c), s.d, s.c) })
	both(func(_ int, s set) { VPXOR(s.c, s.b, s.b) })
	shift(12)
	both(func(_ int, s set) { VPADDD(s.b, s.a, s.a) })
	both(func(n int, s set) { VMOVDQU(s.a, word(n, a)) })
	both(func(_ int, s set) { VPXOR(s.a, s.d, s.d) })
	both(func(_ int, s set) { VPSHUFB(rotate.Offset(32), s.d, s.d) })
	both(func(n int, s set) { VMOVDQU(s.d, word(n, d)) })
	both(func(_ int, s set) { VPADDD(s.d, s.c, s.c) })
	both(func(n int, s set) { VMOVDQU(s.c, word(n, c)) })
	both(func(_ int, s set) { VPXOR(s.c, s.b, s.b) })
	shift(7)
}
