package chachapoly

import "unsafe"

// lanes are 32 blocks of key stream to be made: what is different in their states,
// and where they go. gen knows the layout. What fill writes may be longer.
type lanes struct {
	block   [48]uint32  // counter of the block within its message
	low     [48]uint32  // of the message's counter
	high    [48]uint32  //
	dst     [48]uintptr // 64 bytes; not touched where the mask is 0
	mask    [32]uint64  // which of them
	scratch [16][16]uint32
}

const all = ^uint64(0)

// fullBlocks xors the key stream into the whole blocks of the messages that are not
// bad, whichever messages they are of. Up to 31 lanes are left for flush.
func (w *work) fullBlocks(k *Key, messages []Message) {
	lane := 0
	for i := range messages {
		m := &messages[i]
		if m.Bad {
			continue
		}
		text := m.Buf[:(len(m.Buf)-Overhead)&^63]
		for block := uint32(1); len(text) > 0; {
			n := min(len(text)/64, 32-lane)
			fill(&w.l, lane, n, &text[0], block, uint32(m.Counter), uint32(m.Counter>>32))
			text, block = text[64*n:], block+uint32(n)
			if lane += n; lane == 32 {
				w.full(k)
				lane = 0
			}
		}
	}
	for i := range lane {
		w.l.mask[i] = all
	}
	w.used = lane
}

// full does all lanes, whatever the masks.
func (w *work) full(k *Key) {
	if w.kernel.wide {
		chacha32full(&k.state, &w.l)
		return
	}
	chacha2x8(&k.state, &w.l, 0)
	chacha2x8(&k.state, &w.l, 16)
}

// lane sets the next lane to a block of key stream, of which to takes the beginning,
// 1 to 63 bytes.
func (w *work) lane(k *Key, counter uint64, block uint32, to []byte) {
	l, i := &w.l, w.used&31
	w.parts[i] = to
	l.block[i], l.low[i], l.high[i] = block, uint32(counter), uint32(counter>>32)
	l.dst[i], l.mask[i] = uintptr(unsafe.Pointer(&to[0])), all>>(64-len(to))
	if w.used++; w.used == 32 {
		w.flush(k)
	}
}

// oneTimeKeys sets lanes for the Poly1305 key of each message.
func (w *work) oneTimeKeys(k *Key, messages []Message) {
	for i := range messages {
		w.lane(k, messages[i].Counter, 0, w.keys[i][:])
	}
}

// lastBlocks sets lanes for what is left behind the whole blocks.
func (w *work) lastBlocks(k *Key, messages []Message) {
	for i := range messages {
		m := &messages[i]
		n := len(m.Buf) - Overhead
		if rest := n & 63; rest > 0 && !m.Bad {
			w.lane(k, m.Counter, uint32(1+n/64), m.Buf[n-rest:n])
		}
	}
}

// flush does the lanes that are set.
func (w *work) flush(k *Key) {
	l, up := &w.l, (w.used+15)&^15
	// Lanes that are not set point to memory that is there: a masked access to none is
	// no fault, but takes the processor a long time.
	for i := w.used; i < up; i++ {
		l.dst[i], l.mask[i] = uintptr(unsafe.Pointer(&w.rest[i&15])), 0
	}
	switch {
	case up == 0:
	case !w.kernel.wide:
		w.flush256(k, up)
	case up == 16:
		chacha16(&k.state, l)
	default:
		chacha32(&k.state, l)
	}
	clear(w.parts[:w.used])
	w.used = 0
}

// flush256 does a multiple of 16 lanes. AVX2 has no masks for bytes, so parts of blocks
// are done in memory of our own.
func (w *work) flush256(k *Key, n int) {
	for first := 0; first < n; first += 16 {
		parts := w.parts[first : first+16]
		for i, to := range parts {
			if to != nil {
				copy(w.rest[i][:], to)
				w.l.dst[first+i] = uintptr(unsafe.Pointer(&w.rest[i]))
			}
		}
		chacha2x8(&k.state, &w.l, first)
		for i, to := range parts {
			copy(to, w.rest[i][:])
		}
	}
}
