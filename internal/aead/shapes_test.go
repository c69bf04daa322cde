package aead

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// margin is what lies around each message of a batch, and must stay as it is.
const margin = 16

// parcel is a batch of messages in one piece of memory, and what each of them is
// one by one, which other tests hold against the RFC and the oracle.
type parcel struct {
	messages []Message
	plain    [][]byte
	sealed   [][]byte
	gaps     [][]byte // what is before, between and behind them
}

// pack makes one of messages of those sizes. The first begins so many bytes behind
// a multiple of 64, the others follow closely.
func pack(r *rand.ChaCha8, k *Key, offset int, sizes []int) *parcel {
	total := 64 + 2*margin
	for _, n := range sizes {
		total += n + Overhead + margin
	}
	p, arena := new(parcel), bytes.Repeat([]byte{0xa5}, total)
	at := margin
	for uintptr(unsafe.Pointer(&arena[at]))%64 != uintptr(offset%64) {
		at++
	}
	first := r.Uint64()
	for i, n := range sizes {
		buf := arena[at : at+n+Overhead : at+n+Overhead]
		p.gaps = append(p.gaps, arena[at-margin:at])
		at += len(buf) + margin
		r.Read(buf)
		m := Message{Buf: buf, Counter: first + uint64(i)}
		sealed := bytes.Clone(buf)
		k.Seal(sealed, m.Counter)
		p.messages, p.plain, p.sealed = append(p.messages, m), append(p.plain, bytes.Clone(buf[:n])), append(p.sealed, sealed)
	}
	p.gaps = append(p.gaps, arena[at-margin:at])
	return p
}

// intact tells whether nothing was written around the messages.
func (p *parcel) intact() bool {
	for _, gap := range p.gaps {
		if !bytes.Equal(gap, bytes.Repeat([]byte{0xa5}, margin)) {
			return false
		}
	}
	return true
}

// check seals and opens them.
func (p *parcel) check(t *testing.T, k *Key, what ...any) {
	t.Helper()
	k.SealBatch(p.messages)
	for i, m := range p.messages {
		if !bytes.Equal(m.Buf, p.sealed[i]) {
			t.Fatalf("%v: message %d of %d, %d bytes, is sealed differently", what, i, len(p.messages), len(p.plain[i]))
		}
	}
	k.OpenBatch(p.messages)
	for i, m := range p.messages {
		if m.Bad || !bytes.Equal(m.Buf[:len(p.plain[i])], p.plain[i]) {
			t.Fatalf("%v: message %d of %d, %d bytes, bad: %v", what, i, len(p.messages), len(p.plain[i]), m.Bad)
		}
	}
	if !p.intact() {
		t.Fatalf("%v: wrote outside the messages", what)
	}
}

// Messages begin at any address.
func TestBatchAlignments(t *testing.T) { each(t, testAlignments) }

func testAlignments(t *testing.T, k *Key) {
	r := rand.NewChaCha8([32]byte{11})
	for offset := range 64 {
		for _, size := range []int{0, 15, 64, 80, 1424} {
			pack(r, k, offset, slices.Repeat([]int{size}, 32)).check(t, k, "offset", offset)
		}
		pack(r, k, offset, spread(32, func(i int) int { return 61 * i })).check(t, k, "offset", offset, "mixed")
	}
}

func spread(count int, size func(int) int) []int {
	sizes := make([]int, count)
	for i := range sizes {
		sizes[i] = size(i)
	}
	return sizes
}

// Batches where lanes are done at different times, or have nothing to do.
func TestBatchShapes(t *testing.T) { each(t, testShapes) }

func testShapes(t *testing.T, k *Key) {
	r := rand.NewChaCha8([32]byte{12})
	for name, size := range map[string]func(i, count int) int{
		"empty":           func(i, count int) int { return 0 },
		"one byte":        func(i, count int) int { return 1 },
		"a block":         func(i, count int) int { return 64 },
		"equal":           func(i, count int) int { return 1424 },
		"rising":          func(i, count int) int { return 23 * i },
		"falling":         func(i, count int) int { return 23 * (count - i) },
		"every other":     func(i, count int) int { return i % 2 * 200 },
		"first is long":   func(i, count int) int { return max(0, 3000-3000*i) },
		"last is long":    func(i, count int) int { return max(0, 3000-3000*(count-1-i)) },
		"first is empty":  func(i, count int) int { return min(i, 1) * 300 },
		"last is empty":   func(i, count int) int { return min(count-1-i, 1) * 300 },
		"eighth is empty": func(i, count int) int { return min(i%8, 1) * 130 },
		"around a block":  func(i, count int) int { return 63 + i%3 },
		"around a tag":    func(i, count int) int { return 15 + i%3 },
		"around 16":       func(i, count int) int { return 1023 + i%3 },
		"acks and data":   func(i, count int) int { return []int{1424, 80, 80, 1424, 0, 112}[i%6] },
	} {
		for _, count := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 48, 64, 71} {
			sizes := spread(count, func(i int) int { return size(i, count) })
			pack(r, k, count, sizes).check(t, k, name)
		}
	}
}

// Lengths up to 70,000, ever further from each other, and around multiples of what
// kernels do at once.
func TestBatchLengths(t *testing.T) { each(t, testLengths) }

func testLengths(t *testing.T, k *Key) {
	r := rand.NewChaCha8([32]byte{13})
	var sizes []int
	for n := 340; n < 70_000; n += 1 + n/80 {
		sizes = append(sizes, n)
	}
	for n := 512; n < 70_000; n *= 2 {
		sizes = append(sizes, n-17, n-16, n-1, n, n+1, n+15, n+16, n+17)
	}
	sizes = append(sizes, lengths()...)
	sizes = append(sizes, 8900, 65_535, 65_536, 70_000)
	slices.Sort(sizes)
	for batch := range slices.Chunk(sizes, 32) {
		pack(r, k, len(batch), batch).check(t, k)
	}
	// And all of them next to others that are much shorter or longer.
	for i := range len(sizes) / 2 {
		j := i * 7919 % len(sizes)
		sizes[i], sizes[j] = sizes[j], sizes[i]
	}
	for batch := range slices.Chunk(sizes, 32) {
		pack(r, k, len(batch), batch).check(t, k)
	}
}

// Every byte of every message is authenticated, whatever lane it is in. Only
// the message that was changed is bad, and nothing of its plaintext is to be had:
// kernels leave it as it was, x/crypto zeroes it.
func TestBatchTampering(t *testing.T) { each(t, testTampering) }

func testTampering(t *testing.T, k *Key) {
	r := rand.NewChaCha8([32]byte{14})
	for _, size := range []int{0, 1, 16, 64, 80, 1424} {
		p := pack(r, k, 0, slices.Repeat([]int{size}, 32))
		for pos := range size + Overhead {
			at := pos * 5 % 32 // 5 has no divisor with 32: all lanes in turn
			for i, m := range p.messages {
				copy(m.Buf, p.sealed[i])
			}
			p.messages[at].Buf[pos] ^= 1 << (pos % 8)
			was := bytes.Clone(p.messages[at].Buf)
			k.OpenBatch(p.messages)
			for i, m := range p.messages {
				if m.Bad != (i == at) {
					t.Fatalf("%d bytes, byte %d of message %d is changed: message %d, bad: %v", size, pos, at, i, m.Bad)
				}
				if !m.Bad && !bytes.Equal(m.Buf[:size], p.plain[i]) {
					t.Fatalf("%d bytes, byte %d of message %d is changed: message %d opens to something else", size, pos, at, i)
				}
			}
			if buf := p.messages[at].Buf; !bytes.Equal(buf, was) &&
				(k.kernel != nil || !bytes.Equal(buf[:size], make([]byte, size))) {
				t.Fatalf("%d bytes, byte %d of message %d is changed: it became %x", size, pos, at, buf)
			}
		}
	}
}
