// Command gen writes the kernel of x25519:
//
//	go generate ./internal/x25519
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// elementSize is the size of an element of work (x25519.go), in bytes: 5 limbs of 8 lanes.
const elementSize = 5 * 64

// Offsets in work.
const (
	offSwaps = 0
	offX1    = 4*64 + elementSize*(iota-1)
	offX2
	offZ2
	offX3
	offZ3
	offA // x2+z2
	offB // x2-z2
	offC // x3+z3
	offD // x3-z3
	offS // of A and C the one to be doubled, and its square
	offT // of B and D
	offP // DA+CB
	offQ // DA-CB, and its square
	offE // S^2-T^2
	offG // S^2+a24*E
)

// Registers. A product takes 20: its factors and ten sums.
var (
	left   = element{zmm(0), zmm(1), zmm(2), zmm(3), zmm(4)}
	right  = element{zmm(5), zmm(6), zmm(7), zmm(8), zmm(9)}
	sums   = [10]reg.VecPhysical{zmm(10), zmm(11), zmm(12), zmm(13), zmm(14), zmm(15), zmm(16), zmm(17), zmm(18), zmm(19)}
	result = element(sums[:5])
	carry  = element{zmm(20), zmm(21), zmm(22), zmm(23), zmm(24)}
	swaps  = zmm(25)

	a24      = zmm(26)
	bias0    = zmm(27) // 2^9 p: lowest limb
	bias     = zmm(28) // the other limbs
	nineteen = zmm(29)
	twice19  = zmm(30)
	mask51   = zmm(31)
)

// An element of the field, in registers.
type element [5]reg.VecPhysical

func main() {
	Package("culvert/internal/x25519")
	ConstraintExpr("amd64")
	constants := newConstants()
	ladder(constants)
	multiply(constants)
	square(constants)
	Generate()
}

func newConstants() Mem {
	m := GLOBL("constants", attr.RODATA|attr.NOPTR)
	for i, c := range []uint64{
		121665, // RFC 7748 section 5
		(1<<51 - 19) << 9,
		(1<<51 - 1) << 9,
		19,
		38,
		1<<51 - 1,
	} {
		DATA(8*i, U64(c))
	}
	return m
}

// function begins the code of a function declared in kernel_amd64.go.
func function(name string, constants Mem) {
	Implement(name)
	Attributes(attr.NOSPLIT)
	for i, r := range []reg.VecPhysical{a24, bias0, bias, nineteen, twice19, mask51} {
		VPBROADCASTQ(constants.Offset(8*i), r)
	}
}

// end wipes the vector registers. Without VZEROUPPER (here VZEROALL) what follows, which
// is code for SSE, runs at half the speed on Intel.
func end() {
	for i := 16; i < 26; i++ {
		VPXORQ(zmm(i), zmm(i), zmm(i))
	}
	VZEROALL()
	RET()
}

// ladder is Montgomery's ladder of RFC 7748, section 5. To swap two points and to
// work out their sum and double is the same as to choose which one is doubled.
func ladder(constants Mem) {
	function("ladder", constants)
	w := Load(Param("w"), GP64())
	word, bits := GP64(), GP64()
	at := func(off int) Mem { return Mem{Base: w, Disp: off} }

	LEAQ(Mem{Base: w, Disp: offSwaps + 3*64}, word)
	VMOVDQU64(Mem{Base: word}, swaps)
	VPSLLQ(U8(1), swaps, swaps) // there is no bit 255
	MOVQ(U32(63), bits)
	Label("bit")
	VPMOVQ2M(swaps, reg.K1)
	VPSLLQ(U8(1), swaps, swaps)

	// What is in x2, z2, x3, z3 was not carried.
	for _, s := range [][4]int{{offX2, offZ2, offA, offB}, {offX3, offZ3, offC, offD}} {
		load(at(s[0]), left)
		load(at(s[1]), right)
		sumAndDifference(left, right, at(s[2]), at(s[3]))
	}
	for _, s := range [][3]int{{offA, offC, offS}, {offB, offD, offT}} {
		for i := range 5 {
			VMOVDQU64(at(s[0]+64*i), left[i])
			VMOVDQU64(at(s[1]+64*i), reg.K1, left[i])
			VMOVDQU64(left[i], at(s[2]+64*i))
		}
	}
	load(at(offD), left)
	load(at(offA), right)
	product()
	store(at(offP), result)
	load(at(offC), left)
	load(at(offB), right)
	product()
	load(at(offP), left)
	sumAndDifference(left, result, at(offP), at(offQ))

	for _, s := range []int{offS, offT} {
		load(at(s), left)
		squared()
		carried()
		store(at(s), result)
	}
	load(at(offP), left)
	squared()
	store(at(offX3), result)
	load(at(offQ), left)
	squared()
	carried()
	store(at(offQ), result)

	load(at(offS), left)
	load(at(offT), right)
	difference(left, right)
	carried()
	store(at(offE), result)
	product()
	store(at(offX2), result)

	load(at(offQ), left)
	load(at(offX1), right)
	product()
	store(at(offZ3), result)

	load(at(offE), left)
	load(at(offS), result)
	plusTimes24()
	carried()
	store(at(offG), result)
	load(at(offG), right)
	product()
	store(at(offZ2), result)

	DECQ(bits)
	JNZ(LabelRef("bit"))
	SUBQ(U32(64), word)
	CMPQ(word, w)
	JB(LabelRef("last"))
	VMOVDQU64(Mem{Base: word}, swaps)
	MOVQ(U32(64), bits)
	JMP(LabelRef("bit"))

	Label("last")
	for _, off := range []int{offX2, offZ2} {
		load(at(off), result)
		carried()
		store(at(off), result)
	}
	end()
}

func multiply(constants Mem) {
	function("multiply", constants)
	dst, a, b := Load(Param("dst"), GP64()), Load(Param("a"), GP64()), Load(Param("b"), GP64())
	load(Mem{Base: a}, left)
	load(Mem{Base: b}, right)
	product()
	carried()
	store(Mem{Base: dst}, result)
	end()
}

func square(constants Mem) {
	function("square", constants)
	dst, a, times := Load(Param("dst"), GP64()), Load(Param("a"), GP64()), Load(Param("times"), GP64())
	load(Mem{Base: a}, left)
	Label("again")
	squared()
	carried()
	for i := range 5 {
		VMOVDQA64(sums[i], left[i])
	}
	DECQ(times)
	JNZ(LabelRef("again"))
	store(Mem{Base: dst}, left)
	end()
}
