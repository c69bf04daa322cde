// Package scrub overwrites what secrets a goroutine has left on its stack, and in vector registers: x/crypto and circl
// compute in local variables, copies go through registers, and Go leaves all that where it was. Registers
// get into memory when the runtime interrupts a goroutine with a signal: the kernel writes them to the signal's
// stack, and the runtime to memory of its own. What is in them at just that moment is not reached.
//
// Stacks move. One that has to grow is copied, and so is one of which little is used when the garbage
// collector looks; what it was stays in free memory as it is. So who handles secrets runs in [Run], which
// makes room first and keeps it; and Deep and Shallow need no more room than that.
package scrub

import "culvert/internal/chachapoly"

// Sizes in bytes. A stack has a size of 2^n, and is made smaller when less than a quarter is in use: with hold in use
// one of 16 KiB stays, and reserve makes it one. So hold and reserve fit into 16 KiB, and reserve is more than deep.
const (
	hold    = 4 << 10
	reserve = 10 << 10
	deep    = 8 << 10
	shallow = 1536
)

// Run calls f with enough stack that Deep can be called, and nothing has to be moved, by what f calls up to
// a depth of 8 KiB. For the first function of a goroutine.
func Run(f func()) {
	var held [hold]byte
	use(&held[0])
	makeRoom()
	f()
	use(&held[0])
}

//go:noinline
func makeRoom() {
	var b [reserve]byte
	use(&b[0])
}

// Deep overwrites 8 KiB of the stack below the caller's frame: all that calls which have returned have left
// there; and vector registers.
func Deep() {
	deepStack()
	chachapoly.WipeRegisters()
}

//go:noinline
func deepStack() {
	var b [deep]byte
	use(&b[0])
}

// Shallow is Deep for 1.5 KiB, which is more than x/crypto needs for a message. It takes 20 ns.
func Shallow() {
	shallowStack()
	chachapoly.WipeRegisters()
}

//go:noinline
func shallowStack() {
	var b [shallow]byte
	use(&b[0])
}

// use makes the compiler believe that b matters.
//
//go:noinline
func use(b *byte) {}
