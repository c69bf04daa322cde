package aead

import (
	"culvert/internal/chachapoly"
	"culvert/internal/scrub"
)

// A Message of a batch; see [chachapoly.Message].
type Message = chachapoly.Message

// SealBatch is Seal for several messages, which do not overlap. More at once are
// quicker, up to a multiple of 32. Of the key it leaves nothing on the stack.
func (k *Key) SealBatch(messages []Message) {
	if k.aead == nil {
		panic("BUG: aead: seal with a wiped key")
	}
	n := k.batched(len(messages))
	if n > 0 {
		k.kernel.Seal(&k.lanes, messages[:n])
	}
	if n == len(messages) {
		return
	}
	for _, m := range messages[n:] {
		k.Seal(m.Buf, m.Counter)
	}
	scrub.Shallow()
}

// OpenBatch is Open for several messages, which do not overlap: where that would
// return false, Bad is set.
func (k *Key) OpenBatch(messages []Message) {
	n := 0
	if k.aead != nil && shortest(messages) >= Overhead {
		n = k.batched(len(messages))
	}
	if n > 0 {
		k.kernel.Open(&k.lanes, messages[:n])
	}
	if n == len(messages) {
		return
	}
	for i := n; i < len(messages); i++ {
		m := &messages[i]
		m.Bad = !k.Open(m.Buf, m.Counter)
	}
	scrub.Shallow()
}

func shortest(messages []Message) int {
	least := Overhead
	for i := range messages {
		least = min(least, len(messages[i].Buf))
	}
	return least
}

// batched is how many of n messages go through the kernel.
func (k *Key) batched(n int) int {
	if k.kernel == nil {
		return 0
	}
	if rest := n % k.kernel.Batch; rest < k.kernel.Least {
		n -= rest
	}
	return n
}
