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
	fillLanes()
	chacha512("chacha16", 1, true)
	chacha512("chacha32", 2, true)
	chacha512("chacha32full", 2, false)
	poly512()
	chacha256()
	poly256()
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

// wipe makes the functions that overwrite every vector register.
func wipe() {
	function("wipe512")
	VZEROALL()
	for i := 16; i < 32; i++ {
		VPXORQ(zmm(i), zmm(i), zmm(i))
	}
	end()
	function("wipe256")
	VZEROALL()
	RET()
}
