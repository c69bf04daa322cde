package aead

import (
	"bytes"
	"fmt"
	"sync"

	"culvert/internal/chachapoly"
)

// A Message of a batch; see [chachapoly.Message].
type Message = chachapoly.Message

// leastBatch is how many messages are worth a batch: fewer leave so many lanes
// empty that one after the other is quicker.
const leastBatch = 6

// SealBatch is Seal for several messages, which do not overlap. More at once are
// quicker, up to a multiple of chachapoly.Batch.
func (k *Key) SealBatch(messages []Message) {
	if k.aead == nil {
		panic("BUG: aead: seal with a wiped key")
	}
	n := batched(len(messages))
	if n > 0 {
		k.lanes.Seal(messages[:n])
	}
	for _, m := range messages[n:] {
		k.Seal(m.Buf, m.Counter)
	}
}

// OpenBatch is Open for several messages, which do not overlap: where that would
// return false, Bad is set.
func (k *Key) OpenBatch(messages []Message) {
	n := 0
	if k.aead != nil && shortest(messages) >= Overhead {
		n = batched(len(messages))
	}
	if n > 0 {
		k.lanes.Open(messages[:n])
	}
	for i := n; i < len(messages); i++ {
		m := &messages[i]
		m.Bad = !k.Open(m.Buf, m.Counter)
	}
}

func shortest(messages []Message) int {
	least := Overhead
	for i := range messages {
		least = min(least, len(messages[i].Buf))
	}
	return least
}

// batched is how many of n messages go through a kernel.
func batched(n int) int {
	if rest := n % chachapoly.Batch; rest < leastBatch {
		n -= rest
	}
	if n == 0 || Kernel() != AVX512 {
		return 0
	}
	return n
}

var selfTestSizes = [...]int{0, 1, 16, 63, 64, 65, 1024, 1500}

// selfTest tells whether a kernel seals as x/crypto does, opens that, and refuses
// what was changed: messages of all the sizes where it does something different.
func selfTest(seal, open func(*chachapoly.Key, []Message)) bool {
	secret := [KeySize]byte{1, 2, 3, 5: 7, 31: 0xff}
	var lanes chachapoly.Key
	lanes.Init(&secret)
	k := &Key{aead: newAEAD(&secret)}
	messages, want := make([]Message, 0, 2*chachapoly.Batch), [][]byte(nil)
	for i := range cap(messages) {
		size := selfTestSizes[i%len(selfTestSizes)] + i/len(selfTestSizes)
		buf := make([]byte, size+Overhead)
		for j := range size {
			buf[j] = byte(i*j ^ j>>3)
		}
		m := Message{Buf: buf, Counter: uint64(i) << (4 * (i % 9))}
		expect := bytes.Clone(buf)
		k.Seal(expect, m.Counter)
		messages, want = append(messages, m), append(want, expect)
	}
	plain := make([][]byte, len(messages))
	for i, m := range messages {
		plain[i] = bytes.Clone(m.Buf[:len(m.Buf)-Overhead])
	}
	seal(&lanes, messages)
	for i, m := range messages {
		if !bytes.Equal(m.Buf, want[i]) {
			return false
		}
		if i%3 == 0 {
			m.Buf[i*31%len(m.Buf)] ^= 0x10
		}
	}
	open(&lanes, messages)
	for i, m := range messages {
		if m.Bad != (i%3 == 0) || !m.Bad && !bytes.Equal(m.Buf[:len(plain[i])], plain[i]) {
			return false
		}
	}
	return true
}

// Kernels by name.
const (
	AVX512  = "avx512"  // internal/chachapoly
	Generic = "generic" // x/crypto
)

// asked is what Use was told.
var asked string

// Use pins what batches are computed with; "" is the choice that Kernel makes. It
// is for before the first key. An error says what is possible.
func Use(kernel string) error {
	switch {
	case kernel != "" && kernel != AVX512 && kernel != Generic:
		return fmt.Errorf("must be %s or %s, not %q", AVX512, Generic, kernel)
	case kernel == AVX512 && !chachapoly.Supported:
		return fmt.Errorf("%s needs a processor with AVX-512 (F, BW, VL, DQ, IFMA), which this one is not", AVX512)
	}
	asked = kernel
	return nil
}

// Kernel is what batches are computed with. It is chosen once: by what the
// processor has, and by a test against x/crypto, which a kernel must pass.
func Kernel() string {
	name, _ := chosen()
	return name
}

// Failed tells that a kernel which the processor could run is not used, as it
// failed its test.
func Failed() bool {
	_, failed := chosen()
	return failed
}

var chosen = sync.OnceValues(func() (name string, failed bool) {
	switch {
	case asked == Generic || !chachapoly.Supported:
		return Generic, false
	case !selfTest((*chachapoly.Key).Seal, (*chachapoly.Key).Open):
		return Generic, true
	}
	return AVX512, false
})
