package chachapoly

import (
	"math/bits"
	"unsafe"
)

// lanes are 32 blocks of key stream to be made: what is different in their states,
// and how much of them is wanted. gen knows the layout.
type lanes struct {
	block   [32]uint32 // counter of the block within its message
	low     [32]uint32 // of the message's counter
	high    [32]uint32 //
	mask    [32]uint64 // which of its 64 bytes
	scratch [16][16]uint32
}

const all = ^uint64(0)

// lane sets the next lane to a block of key stream for n bytes at dst.
func (w *work) lane(k *Key, counter uint64, block uint32, dst *byte, n int) {
	l, i := &w.l, w.used&31
	l.block[i], l.low[i], l.high[i] = block, uint32(counter), uint32(counter>>32)
	w.dst[i], l.mask[i] = unsafe.Pointer(dst), all>>(64-n)
	if w.used++; w.used == 32 {
		w.flush(k)
	}
}

// flush does the lanes that are set.
func (w *work) flush(k *Key) {
	up := (w.used + 15) &^ 15
	// Lanes that are not set point to memory that is there: a masked access to none is
	// no fault, but takes the processor a long time.
	for i := w.used; i < up; i++ {
		w.dst[i], w.l.mask[i] = unsafe.Pointer(&w.rest), 0
	}
	switch {
	case up == 0:
	case !w.kernel.wide:
		w.flush256(k, up)
	case up == 16:
		chacha16(&k.state, &w.l, &w.dst)
	default:
		chacha32(&k.state, &w.l, &w.dst)
	}
	w.used = 0
}

// flush256 does a multiple of 16 lanes. AVX2 has no masks for bytes, so parts of blocks
// are done in memory of our own.
func (w *work) flush256(k *Key, n int) {
	l := &w.l
	for first := 0; first < n; first += 16 {
		var parts [16]unsafe.Pointer
		for i := range parts {
			if mask := l.mask[first+i]; mask != all {
				parts[i] = w.dst[first+i]
				copy(w.rest[i][:64], bytesAt(parts[i], mask))
				w.dst[first+i] = unsafe.Pointer(&w.rest[i])
			}
		}
		chacha2x8(&k.state, l, &w.dst, first)
		for i := range parts {
			if parts[i] != nil {
				copy(bytesAt(parts[i], l.mask[first+i]), w.rest[i][:64])
			}
		}
	}
}

// bytesAt are the bytes at p that the mask has.
func bytesAt(p unsafe.Pointer, mask uint64) []byte {
	return unsafe.Slice((*byte)(p), bits.Len64(mask))
}

// oneTimeKeys sets lanes for the Poly1305 key of each message.
func (w *work) oneTimeKeys(k *Key, messages []Message) {
	for i := range messages {
		w.lane(k, messages[i].Counter, 0, &w.keys[i][0], 32)
	}
}

// fullBlocks xors the key stream into the whole blocks of the messages that are not
// bad, whichever messages they are of. Up to 31 lanes are left for flush.
func (w *work) fullBlocks(k *Key, messages []Message) {
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
			w.dst[lane] = unsafe.Pointer(&text[0])
			text = text[64:]
			if lane = (lane + 1) & 31; lane == 0 {
				w.full(k)
			}
		}
	}
	for i := range lane {
		l.mask[i] = all
	}
	w.used = lane
}

// full does all lanes, whatever the masks.
func (w *work) full(k *Key) {
	if w.kernel.wide {
		chacha32full(&k.state, &w.l, &w.dst)
		return
	}
	chacha2x8(&k.state, &w.l, &w.dst, 0)
	chacha2x8(&k.state, &w.l, &w.dst, 16)
}

// lastBlocks sets lanes for what is left behind the whole blocks.
func (w *work) lastBlocks(k *Key, messages []Message) {
	for i := range messages {
		m := &messages[i]
		n := len(m.Buf) - Overhead
		if rest := n & 63; rest > 0 && !m.Bad {
			w.lane(k, m.Counter, uint32(1+n/64), &m.Buf[n-rest], rest)
		}
	}
}
