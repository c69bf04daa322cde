//go:build !amd64

package checksum

var vectors = false

func sumBlocks(*byte, int) uint64 { panic("BUG: checksum: no vectors on this processor") }
