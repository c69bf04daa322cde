#include "textflag.h"

// func sumBlocks(p *byte, n int) uint64
//
// Words of 32 bits are added in lanes of 64: with an even and an odd one of each lane,
// two additions for 8 bytes, and no carry until 2^32 of them have been added.
TEXT ·sumBlocks(SB), NOSPLIT, $0-24
	MOVQ     p+0(FP), AX
	MOVQ     n+8(FP), CX
	VPCMPEQD Y7, Y7, Y7
	VPSRLQ   $32, Y7, Y7
	VPXOR    Y0, Y0, Y0
	VPXOR    Y1, Y1, Y1
	VPXOR    Y2, Y2, Y2
	VPXOR    Y3, Y3, Y3

block:
	VMOVDQU (AX), Y4
	VMOVDQU 32(AX), Y5
	VPAND   Y7, Y4, Y6
	VPADDQ  Y6, Y0, Y0
	VPSRLQ  $32, Y4, Y4
	VPADDQ  Y4, Y1, Y1
	VPAND   Y7, Y5, Y6
	VPADDQ  Y6, Y2, Y2
	VPSRLQ  $32, Y5, Y5
	VPADDQ  Y5, Y3, Y3
	ADDQ    $64, AX
	SUBQ    $64, CX
	JNZ     block

	VPADDQ       Y1, Y0, Y0
	VPADDQ       Y3, Y2, Y2
	VPADDQ       Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ       X1, X0, X0
	VPSRLDQ      $8, X0, X1
	VPADDQ       X1, X0, X0
	VMOVQ        X0, AX
	VZEROUPPER
	MOVQ AX, ret+16(FP)
	RET
