package chachapoly

import (
	"encoding/binary"
	"math/big"
	"slices"
)

// polyOracle is Poly1305 written down from RFC 8439 section 2.5.1, for texts of whole blocks.
func polyOracle(key *[32]byte, text []byte) (tag [16]byte) {
	number := func(b []byte) *big.Int {
		b = slices.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	var r [16]byte
	binary.LittleEndian.PutUint64(r[:], binary.LittleEndian.Uint64(key[:])&0x0ffffffc0fffffff)
	binary.LittleEndian.PutUint64(r[8:], binary.LittleEndian.Uint64(key[8:])&0x0ffffffc0ffffffc)
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	a := new(big.Int)
	for ; len(text) > 0; text = text[16:] {
		a.Add(a, number(append(slices.Clone(text[:16]), 1)))
		a.Mul(a, number(r[:]))
		a.Mod(a, p)
	}
	a.Add(a, number(key[16:]))
	a.Mod(a, new(big.Int).Lsh(big.NewInt(1), 128))
	b := a.FillBytes(make([]byte, 16))
	slices.Reverse(b)
	return [16]byte(b)
}
