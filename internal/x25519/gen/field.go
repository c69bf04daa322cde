package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Elements have 5 limbs of 51 bits and a few more. The multiplication of AVX-512
// IFMA takes 52 bits of each factor, so factors have to be carried: below
// 2^51+2^16. Sums of products, folded, are below 2^59.1, and what carried takes may have 62 bits.

func load(from Mem, e element) {
	for i, r := range e {
		VMOVDQU64(from.Offset(64*i), r)
	}
}

func store(to Mem, e element) {
	for i, r := range e {
		VMOVDQU64(r, to.Offset(64*i))
	}
}

// sumAndDifference stores a+b and a-b, carried. b may be the result.
func sumAndDifference(a, b element, toSum, toDifference Mem) {
	for i := range 5 {
		VPADDQ(b[i], a[i], sums[5+i])
	}
	difference(a, b)
	carried()
	store(toDifference, result)
	for i := range 5 {
		VMOVDQA64(sums[5+i], sums[i])
	}
	carried()
	store(toSum, result)
}

// difference sets the result to a-b and a multiple of p that keeps them positive.
func difference(a, b element) {
	for i := range 5 {
		multiple := bias
		if i == 0 {
			multiple = bias0
		}
		VPSUBQ(b[i], a[i], sums[i])
		VPADDQ(multiple, sums[i], sums[i])
	}
}

// product sets the result to left*right.
func product() {
	zero(sums[:])
	for i := range 5 {
		for j := range 5 {
			VPMADD52HUQ(right[j], left[i], sums[i+j+1])
		}
	}
	// The upper 52 bits of a product of limbs are worth 2^52, the next limb 2^51.
	for k := 1; k < 10; k++ {
		VPADDQ(sums[k], sums[k], sums[k])
	}
	for i := range 5 {
		for j := range 5 {
			VPMADD52LUQ(right[j], left[i], sums[i+j])
		}
	}
	fold()
}

// squared sets the result to left*left: each product of two different limbs is
// made once.
func squared() {
	zero(sums[:])
	for i := range 5 {
		for j := i + 1; j < 5; j++ {
			VPMADD52HUQ(left[j], left[i], sums[i+j+1])
		}
	}
	for k := 2; k < 9; k++ {
		VPADDQ(sums[k], sums[k], sums[k])
	}
	for i := range 5 {
		VPMADD52HUQ(left[i], left[i], sums[2*i+1])
		for j := i + 1; j < 5; j++ {
			VPMADD52LUQ(left[j], left[i], sums[i+j])
		}
	}
	for k := 1; k < 10; k++ {
		VPADDQ(sums[k], sums[k], sums[k])
	}
	for i := range 5 {
		VPMADD52LUQ(left[i], left[i], sums[2*i])
	}
	fold()
}

// fold adds 19 times the upper sums to the lower ones, which are the result: 2^255 is 19.
func fold() {
	for k := range 5 {
		low, high, spare := sums[k], sums[5+k], carry[k]
		VPADDQ(high, low, low)
		VPSLLQ(U8(3), high, spare)
		VPADDQ(high, spare, high) // 9
		VPADDQ(high, high, high)
		VPADDQ(high, low, low)
	}
}

// plusTimes24 adds 121665*left to the result.
func plusTimes24() {
	zero(sums[5:])
	for i := range 5 {
		VPMADD52HUQ(a24, left[i], sums[5+i])
		VPMADD52LUQ(a24, left[i], sums[i])
	}
	for i := range 4 {
		VPADDQ(sums[5+i], sums[5+i], sums[5+i])
		VPADDQ(sums[5+i], sums[i+1], sums[i+1])
	}
	VPMADD52LUQ(twice19, sums[9], sums[0])
}

// carried carries the result, each limb to the next at the same time.
func carried() {
	for i := range 5 {
		VPSRLQ(U8(51), sums[i], carry[i])
		VPANDQ(mask51, sums[i], sums[i])
	}
	for i := range 4 {
		VPADDQ(carry[i], sums[i+1], sums[i+1])
	}
	VPMADD52LUQ(nineteen, carry[4], sums[0])
}

func zero(r []reg.VecPhysical) {
	for _, r := range r {
		VPXORQ(r, r, r)
	}
}
