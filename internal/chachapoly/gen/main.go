// Command gen writes the kernels of chachapoly:
//
//	go generate ./internal/chachapoly
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
)

func main() {
	Package("culvert/internal/chachapoly")
	ConstraintExpr("amd64")
	chacha("chacha16", 1, true)
	chacha("chacha32", 2, true)
	chacha("chacha32full", 2, false)
	poly512()
	wipe()
	Generate()
}

// function begins the code of a function declared in kernels_amd64.go.
func function(name string) {
	Implement(name)
	Attributes(attr.NOSPLIT)
}

// end is how every function returns. Without VZEROUPPER what follows, which is
// code for SSE, and the next kernel, run at half the speed on Intel.
func end() {
	VZEROUPPER()
	RET()
}

// wipe makes the function that overwrites every vector register.
func wipe() {
	function("wipeRegisters")
	for i := range 32 {
		VPXORQ(zmm(i), zmm(i), zmm(i))
	}
	end()
}
