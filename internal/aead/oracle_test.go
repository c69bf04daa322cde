package aead

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"slices"
)

// oracleSeal is ChaCha20-Poly1305 written down from RFC 8439, slow and plain, for Key and every
// later kernel to be held against.
func oracleSeal(key *[32]byte, nonce *[12]byte, plain, ad []byte) []byte {
	sealed := make([]byte, len(plain))
	for i := range sealed {
		block := oracleBlock(key, nonce, uint32(1+i/64))
		sealed[i] = plain[i] ^ block[i%64]
	}
	var mac []byte
	for _, part := range [][]byte{ad, sealed} {
		mac = append(mac, part...)
		mac = append(mac, make([]byte, -len(part)&15)...)
	}
	mac = binary.LittleEndian.AppendUint64(mac, uint64(len(ad)))
	mac = binary.LittleEndian.AppendUint64(mac, uint64(len(sealed)))
	one := oracleBlock(key, nonce, 0)
	return append(sealed, oraclePoly1305([32]byte(one[:32]), mac)...)
}

// oracleBlock is section 2.3.
func oracleBlock(key *[32]byte, nonce *[12]byte, counter uint32) (out [64]byte) {
	var in [16]uint32
	copy(in[:], []uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574})
	for i := range 8 {
		in[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	in[12] = counter
	for i := range 3 {
		in[13+i] = binary.LittleEndian.Uint32(nonce[4*i:])
	}
	x := in
	for range 10 {
		for i := range 4 {
			quarter(&x, i, 4+i, 8+i, 12+i)
		}
		for i := range 4 {
			quarter(&x, i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4)
		}
	}
	for i := range x {
		binary.LittleEndian.PutUint32(out[4*i:], x[i]+in[i])
	}
	return out
}

func quarter(x *[16]uint32, a, b, c, d int) {
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 16)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 12)
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 8)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 7)
}

// oraclePoly1305 is section 2.5, in big numbers.
func oraclePoly1305(key [32]byte, msg []byte) []byte {
	number := func(b []byte) *big.Int {
		b = slices.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	for _, i := range []int{3, 7, 11, 15} {
		key[i] &= 15
	}
	for _, i := range []int{4, 8, 12} {
		key[i] &= 252
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	r, acc := number(key[:16]), new(big.Int)
	for block := range slices.Chunk(msg, 16) {
		acc.Add(acc, number(append(slices.Clone(block), 1)))
		acc.Mul(acc, r).Mod(acc, p)
	}
	acc.Add(acc, number(key[16:]))
	acc.And(acc, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)))
	tag := acc.FillBytes(make([]byte, 16))
	slices.Reverse(tag)
	return tag
}
