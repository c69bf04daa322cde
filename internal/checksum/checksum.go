// Package checksum is the Internet checksum of RFC 1071: the ones' complement
// of the ones' complement sum of 16-bit words.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// A Sum is a ones' complement sum in the making; the zero value is the sum of
// nothing. It is a plain value: adding gives a new one.
//
// Inside, words are added as the machine loads them, little-endian and 64 bits
// at a time with the carry brought around; RFC 1071 section 2 shows that both
// leave the result, read back in the same order, unchanged.
type Sum uint64

// vectorBytes is how many are worth sumBlocks: a header is not.
const vectorBytes = 128

// Add adds b as 16-bit words in network order. An odd last byte counts as
// though a zero followed, so only the last of several pieces may be odd.
func (s Sum) Add(b []byte) Sum {
	if n := len(b) &^ 63; vectors && n >= vectorBytes {
		s = s.addWord(sumBlocks(&b[0], n))
		b = b[n:]
	}
	sum, carry := uint64(s), uint64(0)
	for len(b) >= 64 {
		w := (*[64]byte)(b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[0:8]), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[8:16]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[16:24]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[24:32]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[32:40]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[40:48]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[48:56]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[56:64]), carry)
		sum += carry // cannot carry again: a sum that carried is at most 2^64-2
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum += carry
		b = b[8:]
	}
	return Sum(sum).addWord(tail(b))
}

// tail is the up to seven bytes of b as the low bytes of a word.
func tail(b []byte) uint64 {
	var w uint64
	if len(b) >= 4 {
		w = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
		if len(b) >= 2 {
			w |= uint64(binary.LittleEndian.Uint16(b)) << 32
			b = b[2:]
			if len(b) == 1 {
				w |= uint64(b[0]) << 48
			}
			return w
		}
		if len(b) == 1 {
			w |= uint64(b[0]) << 32
		}
		return w
	}
	if len(b) >= 2 {
		w = uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
		if len(b) == 1 {
			w |= uint64(b[0]) << 16
		}
		return w
	}
	if len(b) == 1 {
		w = uint64(b[0])
	}
	return w
}

// AddUint16 adds the one word v.
func (s Sum) AddUint16(v uint16) Sum { return s.addWord(uint64(bits.ReverseBytes16(v))) }

// AddUint32 adds v as two words.
func (s Sum) AddUint32(v uint32) Sum { return s.addWord(uint64(bits.ReverseBytes32(v))) }

// SubUint16 takes away the word v that was added before.
func (s Sum) SubUint16(v uint16) Sum { return s.AddUint16(^v) }

func (s Sum) addWord(w uint64) Sum {
	sum, carry := bits.Add64(uint64(s), w, 0)
	return Sum(sum + carry)
}

// Fold is the sum as one 16-bit word. It is 0 only if nothing but zeros was
// added.
func (s Sum) Fold() uint16 {
	v := uint64(s)
	v = v>>32 + v&0xffffffff
	v = v>>32 + v&0xffffffff
	v = v>>16 + v&0xffff
	v = v>>16 + v&0xffff
	return bits.ReverseBytes16(uint16(v))
}

// Checksum is what a header's checksum field must hold when that field counted
// as zero in s. A sum that includes a good checksum field gives 0.
func (s Sum) Checksum() uint16 { return ^s.Fold() }

// Pseudo is the sum of the pseudo-header of TCP and UDP over IPv4 (RFC 9293
// section 3.1) and IPv6 (RFC 8200 section 8.1). src and dst have 4 or 16
// bytes; length counts transport header and payload.
func Pseudo(protocol byte, src, dst []byte, length int) Sum {
	return Sum(0).Add(src).Add(dst).AddUint32(uint32(length)).AddUint16(uint16(protocol))
}
