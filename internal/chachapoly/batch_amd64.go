package chachapoly

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// batch is how many messages are done side by side: two groups of 8 for Poly1305,
// and about as much as a first level cache holds.
const batch = 16

var (
	avx512 = &Kernel{Name: "avx512", Batch: batch, Least: 3, wide: true}
	avx2   = &Kernel{Name: "avx2", Batch: batch, Least: 6}
)

// Kernels are those that this processor can run, the best first.
func Kernels() (all []*Kernel) {
	x := &cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512IFMA {
		all = append(all, avx512)
	}
	if x.HasAVX2 {
		all = append(all, avx2)
	}
	return all
}

// work is the memory of one call.
type work struct {
	kernel *Kernel
	used   int               // lanes
	parts  [32][]byte        // of lanes that are not for a whole block
	p      [8]unsafe.Pointer // what Poly1305 reads
	*vectors
}

// vectors is the part of work that has no pointers. It begins at a multiple of 64, as
// all that the kernels load and store in it should: what is in two cache lines
// takes twice the time.
type vectors struct {
	// The first block of each message's key stream, of which 32 bytes are used: r and s
	// of Poly1305 (RFC 8439 section 2.6).
	keys [2 * batch][32]byte
	l    lanes
	rest [16][96]byte // parts of blocks; for lanes without a message
	tags [2][8]uint64 // lower and upper halves, of a group of messages
	m512 mac512
	m256 mac256
}

func newWork(kernel *Kernel) *work {
	const align = 64
	mem := make([]byte, unsafe.Sizeof(vectors{})+align)
	skip := -uintptr(unsafe.Pointer(&mem[0])) & (align - 1)
	return &work{kernel: kernel, vectors: (*vectors)(unsafe.Pointer(&mem[skip]))}
}

// works are kept to be used again: as many as calls have been under way at once,
// up to that number. (A sync.Pool forgets them at each garbage collection.)
var works [64]atomic.Pointer[work]

func begin(kernel *Kernel) *work {
	for i := range works {
		if works[i].Load() != nil {
			if w := works[i].Swap(nil); w != nil {
				w.kernel = kernel
				return w
			}
		}
	}
	return newWork(kernel)
}

// end overwrites what the work has seen of keys, and gives it back.
func (w *work) end() {
	*w.vectors = vectors{}
	w.p = [8]unsafe.Pointer{} // would keep packets from the collector
	w.kernel.wipeRegisters()
	for i := range works {
		if works[i].Load() == nil && works[i].CompareAndSwap(nil, w) {
			return
		}
	}
}

func (n *Kernel) wipeRegisters() {
	if n.wide {
		wipe512()
	} else {
		wipe256()
	}
}

// widest is what has all vector registers of this processor; nil if it has no AVX2.
var widest = func() *Kernel {
	if all := Kernels(); len(all) > 0 {
		return all[0]
	}
	return nil
}()

// WipeRegisters overwrites what others (x/crypto, memmove) have left in vector registers. It does nothing on processors without AVX2.
func WipeRegisters() {
	if widest != nil {
		widest.wipeRegisters()
	}
}

// Seal encrypts all messages and appends their tags, in place. They have room for
// a tag. Nothing is allocated: no call is indirect, so that messages may be on the
// caller's stack. What they point to may not: it is known by its address.
func (n *Kernel) Seal(k *Key, messages []Message) {
	defer runtime.KeepAlive(messages)
	w := begin(n)
	defer w.end()
	for len(messages) > 0 {
		part := messages[:min(len(messages), batch)]
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
				tag := group[i].Buf[len(group[i].Buf)-Overhead:]
				binary.LittleEndian.PutUint64(tag, w.tags[0][i])
				binary.LittleEndian.PutUint64(tag[8:], w.tags[1][i])
			}
		}
	}
}

// Open decrypts the messages whose tags are right, in place, and marks the others
// as bad: those stay as they are. They have room for a tag. Nothing is allocated.
func (n *Kernel) Open(k *Key, messages []Message) {
	defer runtime.KeepAlive(messages)
	w := begin(n)
	defer w.end()
	for len(messages) > 0 {
		// One-time keys for two batches: they fill the lanes.
		both := messages[:min(len(messages), 2*batch)]
		messages = messages[len(both):]
		clear(w.keys[:len(both)])
		w.oneTimeKeys(k, both)
		w.flush(k)
		for at := 0; at < len(both); at += batch {
			part := both[at:min(at+batch, len(both))]
			for first := 0; first < len(part); first += 8 {
				group := part[first:min(first+8, len(part))]
				w.authenticate(group, at+first)
				for i := range group {
					tag := group[i].Buf[len(group[i].Buf)-Overhead:]
					lo, hi := binary.LittleEndian.Uint64(tag), binary.LittleEndian.Uint64(tag[8:])
					group[i].Bad = (lo^w.tags[0][i])|(hi^w.tags[1][i]) != 0
				}
			}
			w.fullBlocks(k, part)
			w.lastBlocks(k, part)
			w.flush(k)
		}
	}
}

// authenticate computes the tags of up to 8 messages with the keys from first on.
func (w *work) authenticate(messages []Message, first int) {
	if w.kernel.wide {
		w.authenticate512(messages, first)
		return
	}
	w.authenticate256(messages[:min(len(messages), 4)], first, 0)
	if len(messages) > 4 {
		w.authenticate256(messages[4:], first+4, 4)
	}
}
