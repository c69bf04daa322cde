package chachapoly

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/cpu"
)

var avx512 = &Kernel{Name: "avx512", Batch: batch512, Least: 6}

// Kernels are those that this processor can run, the best first.
func Kernels() (all []*Kernel) {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512IFMA {
		all = append(all, avx512)
	}
	return all
}

// Seal encrypts all messages and appends their tags, in place. They have room for
// a tag. Nothing is allocated: the calls are direct, so that messages may be on the
// caller's stack.
func (n *Kernel) Seal(k *Key, messages []Message) { k.seal512(messages) }

// Open decrypts the messages whose tags are right, in place, and marks the others
// as bad: those stay as they are. They have room for a tag. Nothing is allocated.
func (n *Kernel) Open(k *Key, messages []Message) { k.open512(messages) }

// batch512 is the messages that AVX-512 does side by side.
const batch512 = 16

// lanes are 16 blocks of key stream to be made: what is different in their states,
// and where they go. gen knows the layout.
type lanes struct {
	block [16]uint32         // counter of the block within its message
	low   [16]uint32         // of the message's counter
	high  [16]uint32         //
	dst   [16]unsafe.Pointer // 64 bytes; not touched where the mask is 0
	mask  [16]uint64         // which of them
}

// mac8 is the Poly1305 of 8 messages, one in each lane, in limbs of 44, 44 and
// 42 bits. gen knows the layout.
type mac8 struct {
	h     [3][8]uint64
	r     [3][8]uint64
	s     [2][8]uint64 // 20 r1, 20 r2
	masks [3][8]uint64 // 2^44-1, 2^42-1, 2^40
	p     [8]unsafe.Pointer
}

const (
	mask44 = 1<<44 - 1
	mask42 = 1<<42 - 1
)

// oneTime is the first block of each message's key stream; 32 bytes of it are used:
// r and s (RFC 8439 section 2.6).
type oneTime [batch512][32]byte

// work is the memory of one call. It has pointers into itself, so it cannot be on
// a stack.
type work struct {
	keys oneTime
	l    lanes
	mac  [2]mac8
	tail [8][128]byte
}

// works are kept to be used again: as many as calls have been under way at once,
// up to that number. (A sync.Pool forgets them at each garbage collection.)
var works [64]atomic.Pointer[work]

func begin() *work {
	for i := range works {
		if works[i].Load() != nil {
			if w := works[i].Swap(nil); w != nil {
				return w
			}
		}
	}
	return new(work)
}

// end overwrites what the work has seen of keys, and gives it back.
func (w *work) end() {
	*w = work{}
	wipeRegisters()
	for i := range works {
		if works[i].Load() == nil && works[i].CompareAndSwap(nil, w) {
			return
		}
	}
}

// seal512 is Kernel.Seal.
func (k *Key) seal512(messages []Message) {
	w := begin()
	defer w.end()
	for len(messages) > 0 {
		part := messages[:min(len(messages), batch512)]
		messages = messages[len(part):]
		for i := range part {
			part[i].Bad = false
		}
		w.oneTimeKeys(k, part)
		w.crypt(k, part)
		w.authenticate(part, func(i int, lo, hi uint64) {
			tag := part[i].Buf[len(part[i].Buf)-Overhead:]
			binary.LittleEndian.PutUint64(tag, lo)
			binary.LittleEndian.PutUint64(tag[8:], hi)
		})
	}
}

// open512 is Kernel.Open.
func (k *Key) open512(messages []Message) {
	w := begin()
	defer w.end()
	for len(messages) > 0 {
		part := messages[:min(len(messages), batch512)]
		messages = messages[len(part):]
		w.oneTimeKeys(k, part)
		w.authenticate(part, func(i int, lo, hi uint64) {
			tag := part[i].Buf[len(part[i].Buf)-Overhead:]
			part[i].Bad = (binary.LittleEndian.Uint64(tag)^lo)|(binary.LittleEndian.Uint64(tag[8:])^hi) != 0
		})
		w.crypt(k, part)
	}
}

// oneTimeKeys makes the Poly1305 key of each message.
func (w *work) oneTimeKeys(k *Key, messages []Message) {
	w.keys = oneTime{}
	l := &w.l
	w.leave(len(messages))
	for i := range messages {
		c := messages[i].Counter
		l.block[i], l.low[i], l.high[i] = 0, uint32(c), uint32(c>>32)
		l.dst[i], l.mask[i] = unsafe.Pointer(&w.keys[i]), 1<<32-1
	}
	chacha16(&k.state, l)
}

// run is the bytes of 16 blocks.
const run = 16 * 64

// crypt xors the key stream into the messages that are not bad, 16 blocks at a
// time, whichever messages they are of.
func (w *work) crypt(k *Key, messages []Message) {
	l, lane := &w.l, 0
	for i := range messages {
		m := &messages[i]
		n := len(m.Buf) - Overhead
		if m.Bad || n == 0 {
			continue
		}
		low, high := uint32(m.Counter), uint32(m.Counter>>32)
		block, rest := uint32(1), m.Buf[:n]
		for ; len(rest) >= run; rest = rest[run:] {
			chachaRun(&k.state, &rest[0], block, low, high)
			block += 16
		}
		for len(rest) > 0 {
			l.block[lane], l.low[lane], l.high[lane] = block, low, high
			l.dst[lane], l.mask[lane] = unsafe.Pointer(&rest[0]), ^uint64(0)
			if len(rest) < 64 {
				l.mask[lane] = 1<<len(rest) - 1
			}
			rest, block = rest[min(64, len(rest)):], block+1
			if lane = (lane + 1) & 15; lane == 0 {
				chacha16(&k.state, l)
			}
		}
	}
	if lane > 0 {
		w.leave(lane)
		chacha16(&k.state, l)
	}
}

// leave leaves the lanes from first on empty. They point to memory that is there:
// a masked access to none is no fault, but takes the processor a long time.
func (w *work) leave(first int) {
	for i := first; i < 16; i++ {
		w.l.dst[i], w.l.mask[i] = unsafe.Pointer(&w.tail), 0
	}
}

// authenticate computes the tag of each message's ciphertext.
func (w *work) authenticate(messages []Message, done func(i int, lo, hi uint64)) {
	groups := (len(messages) + 7) / 8
	least := len(messages[0].Buf)
	for i := range messages {
		least = min(least, len(messages[i].Buf))
	}
	for g := range groups {
		w.mac[g].begin(w, messages, 8*g)
	}
	switch chunks := (least - Overhead) / 64; {
	case chunks == 0:
	case groups == 1:
		poly8one(&w.mac[0], chunks)
	default:
		poly8(&w.mac[0], &w.mac[1], chunks)
	}
	for g := range groups {
		w.mac[g].rest(w, messages[8*g:min(8*g+8, len(messages))], (least-Overhead)/64)
	}
	for i := range messages {
		lo, hi := w.mac[i/8].tag(i%8, &w.keys[i])
		done(i, lo, hi)
	}
}

// begin sets the lanes for the messages from first on. Those without a message
// do what the first message's does, and nobody asks for it.
func (m *mac8) begin(w *work, messages []Message, first int) {
	m.h = [3][8]uint64{}
	for i := range 8 {
		m.masks[0][i], m.masks[1][i], m.masks[2][i] = mask44, mask42, 1<<40
		at := first + i
		if at >= len(messages) {
			at = 0
		}
		m.p[i] = unsafe.Pointer(unsafe.SliceData(messages[at].Buf))
		// Clamped: RFC 8439 section 2.5.
		lo := binary.LittleEndian.Uint64(w.keys[at][:]) & 0x0ffffffc0fffffff
		hi := binary.LittleEndian.Uint64(w.keys[at][8:]) & 0x0ffffffc0ffffffc
		r1, r2 := (lo>>44|hi<<20)&mask44, hi>>24
		m.r[0][i], m.r[1][i], m.r[2][i] = lo&mask44, r1, r2
		m.s[0][i], m.s[1][i] = 20*r1, 20*r2
	}
}

// rest takes what is left of the messages after so many chunks: whole chunks of
// the longer ones, then the last part of each, padded, and the lengths.
func (m *mac8) rest(w *work, messages []Message, chunks int) {
	most := 0
	for i := range messages {
		most = max(most, (len(messages[i].Buf)-Overhead)/64)
	}
	for ; chunks < most; chunks++ {
		var some uint8
		for i := range messages {
			if (len(messages[i].Buf)-Overhead)/64 > chunks {
				some |= 1 << i
				m.p[i] = unsafe.Pointer(&messages[i].Buf[64*chunks])
			} else {
				m.p[i] = unsafe.Pointer(&w.tail[i])
			}
		}
		for i := len(messages); i < 8; i++ {
			m.p[i] = unsafe.Pointer(&w.tail[i])
		}
		poly8some(m, &[4]uint8{some, some, some, some})
	}
	var masks [8]uint8
	for i := range 8 {
		t := &w.tail[i]
		m.p[i] = unsafe.Pointer(t)
		if i >= len(messages) {
			continue
		}
		n := len(messages[i].Buf) - Overhead
		part := messages[i].Buf[n&^63 : n]
		*t = [128]byte{}
		copy(t[:], part)
		end := (len(part) + 15) &^ 15
		binary.LittleEndian.PutUint64(t[end+8:], uint64(n))
		for j := range end/16 + 1 {
			masks[j] |= 1 << i
		}
	}
	poly8some(m, (*[4]uint8)(masks[:4]))
	if masks[4] != 0 {
		for i := range 8 {
			m.p[i] = unsafe.Pointer(&w.tail[i][64])
		}
		poly8some(m, (*[4]uint8)(masks[4:]))
	}
}

// tag reduces the accumulator of a lane and adds s.
func (m *mac8) tag(lane int, key *[32]byte) (lo, hi uint64) {
	h0, h1, h2 := m.h[0][lane], m.h[1][lane], m.h[2][lane]
	for range 2 {
		h1 += h0 >> 44
		h0 &= mask44
		h2 += h1 >> 44
		h1 &= mask44
		h0 += 5 * (h2 >> 42)
		h2 &= mask42
	}
	h1 += h0 >> 44
	h0 &= mask44
	// h - p, which is h + 5 - 2^130, if that is not negative.
	g0 := h0 + 5
	g1 := h1 + g0>>44
	g2 := h2 + g1>>44 - 1<<42
	keep := -(g2 >> 63) // all ones: h is less than p
	h0 = h0&keep | g0&mask44&^keep
	h1 = h1&keep | g1&mask44&^keep
	h2 = h2&keep | g2&^keep
	var carry uint64
	lo, carry = bits.Add64(h0|h1<<44, binary.LittleEndian.Uint64(key[16:]), 0)
	hi, _ = bits.Add64(h1>>20|h2<<24, binary.LittleEndian.Uint64(key[24:]), carry)
	return lo, hi
}
