package checksum

import "golang.org/x/sys/cpu"

// vectors tells that sumBlocks is there.
var vectors = cpu.X86.HasAVX2

// sumBlocks is the sum of the n bytes at p, a multiple of 64 and at least that, as words
// of 32 bits. It needs AVX2.
//
//go:noescape
func sumBlocks(p *byte, n int) uint64
