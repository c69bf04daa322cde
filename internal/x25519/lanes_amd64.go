package x25519

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// lanes is how many products the kernel has side by side.
const lanes = 8

// least is how many products are worth a call of the kernel.
const least = 2

// element is 8 elements of the field of 2^255-19, one in each lane: 5 limbs of 51 bits.
// What is a factor has to be carried: limbs are below 2^51+2^16. See gen.
type element [5][lanes]uint64

// work is the memory of the kernel. gen knows its layout.
type work struct {
	// Bit i of swaps, 64 in a word, is bit i of the private key xor bit i+1: the point
	// that is to be doubled is the other one than in the step before.
	swaps          [4][lanes]uint64
	x1             element // the points
	x2, z2, x3, z3 element // the two points of the ladder
	temporary      [10]element
}

// newWork begins at a multiple of 64: what is in two cache lines takes more time.
func newWork() *work {
	const align = 64
	mem := make([]byte, unsafe.Sizeof(work{})+align)
	skip := -uintptr(unsafe.Pointer(&mem[0])) & (align - 1)
	return (*work)(unsafe.Pointer(&mem[skip]))
}

// works are kept to be used again, as many as calls have been under way at once, up
// to that number.
var works [16]atomic.Pointer[work]

func begin() *work {
	for i := range works {
		if works[i].Load() != nil {
			if w := works[i].Swap(nil); w != nil {
				return w
			}
		}
	}
	return newWork()
}

// end wipes the work and gives it back.
func (w *work) end() {
	*w = work{}
	for i := range works {
		if works[i].CompareAndSwap(nil, w) {
			return
		}
	}
}

// chosen tells whether there is a kernel: the processor has the instructions, and it
// computes what circl does.
var chosen = sync.OnceValue(func() bool { return supported() && selfTest() })

func supported() bool {
	x := &cpu.X86
	return x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512IFMA
}

// multiplyLanes computes 1 to 8 products.
func multiplyLanes(products []Product) {
	w := begin()
	defer w.end()
	for i := range products {
		w.set(i, products[i].Private, products[i].Public)
	}
	for i := range lanes {
		w.x2[0][i], w.z3[0][i] = 1, 1
	}
	w.x3 = w.x1
	ladder(w)
	w.divide()
	for i := range products {
		w.get(i, products[i].To)
	}
}

// set puts a private key and a point in a lane.
func (w *work) set(lane int, private, public *[Size]byte) {
	var k [5]uint64 // the last one is zero
	for i := range 4 {
		k[i] = binary.LittleEndian.Uint64(private[8*i:])
	}
	for i := range 4 {
		w.swaps[i][lane] = k[i] ^ (k[i]>>1 | k[i+1]<<63)
	}
	if public == nil {
		w.x1[0][lane] = 9
		return
	}
	a, b := binary.LittleEndian.Uint64(public[0:]), binary.LittleEndian.Uint64(public[8:])
	c, d := binary.LittleEndian.Uint64(public[16:]), binary.LittleEndian.Uint64(public[24:])
	const mask = 1<<51 - 1
	w.x1[0][lane] = a & mask
	w.x1[1][lane] = (a>>51 | b<<13) & mask
	w.x1[2][lane] = (b>>38 | c<<26) & mask
	w.x1[3][lane] = (c>>25 | d<<39) & mask
	w.x1[4][lane] = d >> 12 & mask // without bit 255, RFC 7748 section 5
}

// divide sets x2 to x2/z2, or zero if z2 is zero: z2^(p-2) is 1/z2. The chain of
// squares and products is the usual one of 254 and 11.
func (w *work) divide() {
	z := &w.z2
	z9, z11, a, b, c := &w.temporary[0], &w.temporary[1], &w.temporary[2], &w.temporary[3], &w.temporary[4]
	square(a, z, 1) // 2
	square(b, a, 2) // 8
	multiply(z9, b, z)
	multiply(z11, z9, a)
	square(a, z11, 1)                       // 22
	multiply(a, a, z9)                      // 2^5-1
	for _, n := range [...]int{5, 10, 20} { // from 2^n-1 to 2^2n-1
		square(b, a, n)
		if n == 10 {
			*c = *a // 2^10-1
		}
		multiply(a, b, a)
	}
	// a is 2^40-1
	square(a, a, 10)
	multiply(a, a, c) // 2^50-1
	square(b, a, 50)
	multiply(b, b, a) // 2^100-1
	square(c, b, 100)
	multiply(b, c, b) // 2^200-1
	square(b, b, 50)
	multiply(a, b, a) // 2^250-1
	square(a, a, 5)
	multiply(a, a, z11) // 2^255-21
	multiply(&w.x2, &w.x2, a)
}

// get takes x2 out of a lane, in its only form below p.
func (w *work) get(lane int, to *[Size]byte) {
	const mask = 1<<51 - 1
	var l [5]uint64
	for i := range l {
		l[i] = w.x2[i][lane]
	}
	var carry uint64
	for i := range l {
		l[i] += carry
		carry = l[i] >> 51
		l[i] &= mask
	}
	l[0] += 19 * carry
	// Now it is below 2^255+19: p may have to be subtracted. It has when adding 19
	// carries beyond bit 255.
	carry = l[0] + 19
	for i := 1; i < 5; i++ {
		carry = l[i] + carry>>51
	}
	carry >>= 51
	l[0] += 19 * carry
	for i := range 4 {
		l[i+1] += l[i] >> 51
		l[i] &= mask
	}
	l[4] &= mask
	var words [4]uint64
	words[0] = l[0] | l[1]<<51
	words[1] = l[1]>>13 | l[2]<<38
	words[2] = l[2]>>26 | l[3]<<25
	words[3] = l[3]>>39 | l[4]<<12
	for i, x := range words {
		binary.LittleEndian.PutUint64(to[8*i:], x)
	}
	clear(l[:])
	clear(words[:])
}

// selfTest compares 8 products with circl's: points of all kinds.
func selfTest() bool {
	var private, public, got, want [lanes][Size]byte
	var products [lanes]Product
	for i := range lanes {
		for j := range Size {
			private[i][j] = byte(bits.RotateLeft8(uint8(37*j+1), i) ^ uint8(i*j))
			public[i][j] = byte(bits.RotateLeft8(uint8(91*j+5), i) ^ uint8(i+j))
		}
		private[i][0] &^= 7
		private[i][31] = private[i][31]&127 | 64
		products[i] = Product{&private[i], &public[i], &want[i]}
	}
	products[1].Public = nil
	clear(public[2][:])          // of low order
	products[3].Public[31] = 255 // more than 255 bits
	for i := range products {
		one(&products[i])
		products[i].To = &got[i]
	}
	multiplyLanes(products[:])
	return got == want
}
