package chachapoly

import (
	"encoding/binary"
	"unsafe"
)

// mac512 is the Poly1305 of 8 messages, one in each lane, in limbs of 44, 44 and
// 42 bits. gen knows the layout.
type mac512 struct {
	h    [3][8]uint64
	r    [4][5][8]uint64 // r^4, r^3, r^2, r; of each 20 times the upper two limbs, too
	n    [8]uint64       // lengths in bytes
	tail [8]uint64       // which bytes of the rest are there
}

// mac256 is the Poly1305 of 4 messages, one in each lane, in limbs of 26 bits. gen
// knows the layout.
type mac256 struct {
	h    [5][4]uint64
	r    [4][9][4]uint64 // r^4, r^3, r^2, r; of each 5 times the upper four limbs, too
	some [5][4]uint64    // all ones for lanes that take part: in chunks; in each block at the end
}

// A walk goes through the chunks of 64 bytes of up to 8 messages: all that have some
// left together, to the end of the shortest of them.
type walk struct {
	messages []Message
	chunks   [8]int
	done     int

	some uint8 // the lanes that have chunks left
	next int   // up to this chunk
	from int   // a lane that has: where the others may read
}

func newWalk(messages []Message) (k walk) {
	k.messages = messages
	for i := range messages {
		k.chunks[i] = (len(messages[i].Buf) - Overhead) / 64
	}
	return k
}

// step finds the next chunks; false is the end.
func (k *walk) step() bool {
	k.done, k.next, k.some = k.next, 0, 0
	for i, n := range k.chunks {
		if n > k.done {
			k.some |= 1 << i
			if k.next == 0 || n < k.next {
				k.next = n
			}
			k.from = i
		}
	}
	return k.some != 0
}

// at is where lane i reads.
func (k *walk) at(i int) unsafe.Pointer {
	if k.some>>i&1 == 0 {
		i = k.from
	}
	return unsafe.Pointer(&k.messages[i].Buf[64*k.done])
}

// authenticate512 computes the tags of up to 8 messages with the keys from first on.
// Lanes without a message do something that nobody asks for.
func (w *work) authenticate512(messages []Message, first int) {
	m := &w.m512
	poly512Begin(m, &w.keys[first])
	for k := newWalk(messages); k.step(); {
		for i := range w.p {
			w.p[i] = k.at(i)
		}
		poly512Chunks(m, &w.p, k.next-k.done, k.some)
	}
	var some uint32
	for i := range w.p {
		w.p[i], m.n[i], m.tail[i] = unsafe.Pointer(&w.rest), 0, 0
		if i >= len(messages) {
			continue
		}
		n := len(messages[i].Buf) - Overhead
		m.n[i] = uint64(n)
		if rest := n & 63; rest > 0 {
			w.p[i] = unsafe.Pointer(&messages[i].Buf[n-rest])
			m.tail[i] = 1<<rest - 1
			some |= 0x01010101 >> (8 * (3 - (rest-1)/16)) << i
		}
	}
	poly512End(m, &w.p, &w.keys[first], &w.tags, some)
}

// authenticate256 computes the tags, from the one at to on, of up to 4 messages with the
// keys from first on.
func (w *work) authenticate256(messages []Message, first, to int) {
	m := &w.m256
	poly256Begin(m, &w.keys[first])
	for k := newWalk(messages); k.step(); {
		for i := range 4 {
			w.p[i] = k.at(i)
			m.some[0][i] = -uint64(k.some >> i & 1)
		}
		poly256Chunks(m, &w.p, k.next-k.done)
	}
	// What is left of each, filled up to whole blocks, and its length (RFC 8439 section
	// 2.8).
	m.some = [5][4]uint64{}
	most := 1
	for i := range 4 {
		w.p[i] = unsafe.Pointer(&w.rest[i])
		if i >= len(messages) {
			continue
		}
		n := len(messages[i].Buf) - Overhead
		t := &w.rest[i]
		clear(t[:])
		blocks := (copy(t[:], messages[i].Buf[n&^63:n]) + 15) / 16
		binary.LittleEndian.PutUint64(t[16*blocks+8:], uint64(n))
		for j := range blocks + 1 {
			m.some[j][i] = all
		}
		most = max(most, blocks+1)
	}
	poly256End(m, &w.p, &w.keys[first], &w.tags[0][to], most)
}
