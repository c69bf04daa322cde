package chachapoly

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// batch512 is the messages that AVX-512 does side by side: two groups of 8 for
// Poly1305, and about as much as a first level cache holds.
const batch512 = 16

// lanes512 are 32 blocks of key stream to be made: what is different in their states,
// and where they go. gen knows the layout.
type lanes512 struct {
	block   [32]uint32         // counter of the block within its message
	low     [32]uint32         // of the message's counter
	high    [32]uint32         //
	dst     [32]unsafe.Pointer // 64 bytes; not touched where the mask is 0
	mask    [32]uint64         // which of them
	scratch [16][16]uint32
}

// mac512 is the Poly1305 of 8 messages, one in each lane, in limbs of 44, 44 and
// 42 bits. gen knows the layout.
type mac512 struct {
	h    [3][8]uint64
	r    [4][5][8]uint64 // r^4, r^3, r^2, r; of each 20 times the upper two limbs, too
	p    [8]unsafe.Pointer
	n    [8]uint64 // lengths in bytes
	tail [8]uint64 // which bytes of the rest are there
	tags [128]byte
}

// tag is that of lane i.
func (m *mac512) tag(i int) (lo, hi uint64) {
	t := m.tags[64*(i&1)+16*(i>>1):][:16]
	return binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
}

// work512 is the memory of one call. It has pointers into itself, so it cannot be on
// a stack.
type work512 struct {
	// The first block of each message's key stream, of which 32 bytes are used: r and s
	// of Poly1305 (RFC 8439 section 2.6).
	keys  [2 * batch512][32]byte
	l     lanes512
	lanes int // of l in use
	mac   mac512
	spare [64]byte // for lanes without a message
}

// works are kept to be used again: as many as calls have been under way at once,
// up to that number. (A sync.Pool forgets them at each garbage collection.)
var works [64]atomic.Pointer[work512]

func begin512() *work512 {
	for i := range works {
		if works[i].Load() != nil {
			if w := works[i].Swap(nil); w != nil {
				return w
			}
		}
	}
	return new(work512)
}

// end overwrites what the work has seen of keys, and gives it back.
func (w *work512) end() {
	*w = work512{}
	wipeRegisters()
	for i := range works {
		if works[i].Load() == nil && works[i].CompareAndSwap(nil, w) {
			return
		}
	}
}

func (k *Key) seal512(messages []Message) {
	w := begin512()
	defer w.end()
	for len(messages) > 0 {
		part := messages[:min(len(messages), batch512)]
		messages = messages[len(part):]
		for i := range part {
			part[i].Bad = false
		}
		clear(w.keys[:len(part)])
		w.fullBlocks(k, part)
		w.oneTimeKeys(k, part)
		w.lastBlocks(k, part)
		w.flush(k)
		for first := 0; first < len(part); first += 8 {
			group := part[first:min(first+8, len(part))]
			w.authenticate(group, first)
			for i := range group {
				lo, hi := w.mac.tag(i)
				tag := group[i].Buf[len(group[i].Buf)-Overhead:]
				binary.LittleEndian.PutUint64(tag, lo)
				binary.LittleEndian.PutUint64(tag[8:], hi)
			}
		}
	}
}

func (k *Key) open512(messages []Message) {
	w := begin512()
	defer w.end()
	for len(messages) > 0 {
		// One-time keys for two batches: they fill the lanes.
		both := messages[:min(len(messages), 2*batch512)]
		messages = messages[len(both):]
		clear(w.keys[:len(both)])
		w.oneTimeKeys(k, both)
		w.flush(k)
		for at := 0; at < len(both); at += batch512 {
			part := both[at:min(at+batch512, len(both))]
			for first := 0; first < len(part); first += 8 {
				group := part[first:min(first+8, len(part))]
				w.authenticate(group, at+first)
				for i := range group {
					lo, hi := w.mac.tag(i)
					tag := group[i].Buf[len(group[i].Buf)-Overhead:]
					group[i].Bad = (binary.LittleEndian.Uint64(tag)^lo)|(binary.LittleEndian.Uint64(tag[8:])^hi) != 0
				}
			}
			w.fullBlocks(k, part)
			w.lastBlocks(k, part)
			w.flush(k)
		}
	}
}

// lane sets the next lane to a block of key stream for n bytes at dst.
func (w *work512) lane(k *Key, counter uint64, block uint32, dst *byte, n int) {
	l, i := &w.l, w.lanes&31
	l.block[i], l.low[i], l.high[i] = block, uint32(counter), uint32(counter>>32)
	l.dst[i], l.mask[i] = unsafe.Pointer(dst), ^uint64(0)>>(64-n)
	if w.lanes++; w.lanes == 32 {
		chacha32(&k.state, l)
		w.lanes = 0
	}
}

// flush does the lanes that are set. The others point to memory that is there: a
// masked access to none is no fault, but takes the processor a long time.
func (w *work512) flush(k *Key) {
	if w.lanes == 0 {
		return
	}
	up := (w.lanes + 15) &^ 15
	for i := w.lanes; i < up; i++ {
		w.l.dst[i], w.l.mask[i] = unsafe.Pointer(&w.spare), 0
	}
	if up == 16 {
		chacha16(&k.state, &w.l)
	} else {
		chacha32(&k.state, &w.l)
	}
	w.lanes = 0
}

// oneTimeKeys sets lanes for the Poly1305 key of each message.
func (w *work512) oneTimeKeys(k *Key, messages []Message) {
	for i := range messages {
		w.lane(k, messages[i].Counter, 0, &w.keys[i][0], 32)
	}
}

// fullBlocks xors the key stream into the whole blocks of the messages that are not
// bad, whichever messages they are of. Up to 31 lanes are left for flush.
func (w *work512) fullBlocks(k *Key, messages []Message) {
	l, lane := &w.l, 0
	for i := range messages {
		m := &messages[i]
		if m.Bad {
			continue
		}
		low, high := uint32(m.Counter), uint32(m.Counter>>32)
		text := m.Buf[:len(m.Buf)-Overhead]
		for block := uint32(1); len(text) >= 64; block++ {
			l.block[lane], l.low[lane], l.high[lane] = block, low, high
			l.dst[lane] = unsafe.Pointer(&text[0])
			text = text[64:]
			if lane = (lane + 1) & 31; lane == 0 {
				chacha32full(&k.state, l)
			}
		}
	}
	for i := range lane {
		l.mask[i] = ^uint64(0)
	}
	w.lanes = lane
}

// lastBlocks sets lanes for what is left behind the whole blocks.
func (w *work512) lastBlocks(k *Key, messages []Message) {
	for i := range messages {
		m := &messages[i]
		n := len(m.Buf) - Overhead
		if rest := n & 63; rest > 0 && !m.Bad {
			w.lane(k, m.Counter, uint32(1+n/64), &m.Buf[n-rest], rest)
		}
	}
}

// authenticate computes the tags of up to 8 messages with the keys from first on.
// Lanes without a message do something that nobody asks for.
func (w *work512) authenticate(messages []Message, first int) {
	m := &w.mac
	polyBegin(m, &w.keys[first])
	var chunks [8]int
	for i := range messages {
		chunks[i] = (len(messages[i].Buf) - Overhead) / 64
	}
	for done := 0; ; {
		// From here to the end of the shortest that is not done yet.
		next, some, longest := 0, uint8(0), 0
		for i, n := range chunks {
			if n > done {
				some |= 1 << i
				if next == 0 || n < next {
					next = n
				}
				longest = i
			}
		}
		if some == 0 {
			break
		}
		for i := range 8 {
			from := i
			if chunks[i] <= done {
				from = longest // memory that is there
			}
			m.p[i] = unsafe.Pointer(&messages[from].Buf[64*done])
		}
		polyChunks(m, next-done, some)
		done = next
	}
	var some uint32
	for i := range 8 {
		m.p[i], m.n[i], m.tail[i] = unsafe.Pointer(&w.spare), 0, 0
		if i >= len(messages) {
			continue
		}
		n := len(messages[i].Buf) - Overhead
		m.n[i] = uint64(n)
		if rest := n & 63; rest > 0 {
			m.p[i] = unsafe.Pointer(&messages[i].Buf[n-rest])
			m.tail[i] = 1<<rest - 1
			some |= 0x01010101 >> (8 * (3 - (rest-1)/16)) << i
		}
	}
	polyEnd(m, &w.keys[first], some)
}
