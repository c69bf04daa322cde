package aead

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"sync"

	"culvert/internal/chachapoly"
)

// Generic is the name of x/crypto among the kernels: it works everywhere.
const Generic = "generic"

// Kernels are the names of what this processor can compute batches with, the best
// first. Generic is the last of them.
func Kernels() (names []string) {
	for _, n := range chachapoly.Kernels() {
		names = append(names, n.Name)
	}
	return append(names, Generic)
}

// named finds a kernel; Generic is nil.
func named(name string) (*chachapoly.Kernel, error) {
	if name == Generic {
		return nil, nil
	}
	all := chachapoly.Kernels()
	if i := slices.IndexFunc(all, func(n *chachapoly.Kernel) bool { return n.Name == name }); i >= 0 {
		return all[i], nil
	}
	return nil, fmt.Errorf("must be one of %s on this processor, not %q", strings.Join(Kernels(), ", "), name)
}

// asked is what Use was told.
var asked string

// Use pins what batches are computed with, for the whole process; "" is the choice
// that Kernel makes. It is for before the first key. An error says what is possible.
func Use(kernel string) error {
	if kernel != "" {
		if _, err := named(kernel); err != nil {
			return err
		}
	}
	asked = kernel
	return nil
}

// Kernel is the name of what New gives its keys to compute batches with. It is
// chosen once: the best that the processor has, or what Use was told, which must
// pass a test against x/crypto.
func Kernel() string {
	if k := chosen().kernel; k != nil {
		return k.Name
	}
	return Generic
}

// Failed are the names of kernels that the processor could run and that are not
// used, as they failed their test.
func Failed() []string { return chosen().failed }

type choice struct {
	kernel *chachapoly.Kernel // nil is x/crypto
	failed []string
}

var chosen = sync.OnceValue(func() choice { return choose(asked, chachapoly.Kernels(), passes) })

// choose takes the first of the kernels that passes its test.
func choose(asked string, from []*chachapoly.Kernel, passes func(*chachapoly.Kernel) bool) (c choice) {
	for _, n := range from {
		if asked != "" && n.Name != asked {
			continue
		}
		if passes(n) {
			c.kernel = n
			return c
		}
		c.failed = append(c.failed, n.Name)
	}
	return c
}

func passes(n *chachapoly.Kernel) bool { return selfTest(n.Seal, n.Open) }

var selfTestSizes = [...]int{0, 1, 16, 63, 64, 65, 1024, 1500}

// selfTestMessages is more than any kernel's batch.
const selfTestMessages = 40

var selfTestKey = [KeySize]byte{1, 2, 3, 5: 7, 31: 0xff}

// newSelfTest makes the messages of the self-test.
func newSelfTest() (messages []Message) {
	for i := range selfTestMessages {
		size := selfTestSizes[i%len(selfTestSizes)] + i/len(selfTestSizes)
		buf := make([]byte, size+Overhead)
		for j := range size {
			buf[j] = byte(i*j ^ j>>3)
		}
		messages = append(messages, Message{Buf: buf, Counter: uint64(i) << (4 * (i % 9))})
	}
	return messages
}

// selfTestAnswer is the exclusive or of all tags of the self-test, so that not only two
// pieces of code of this process agree. TestSelfTestAnswer has it from RFC 8439.
var selfTestAnswer = [Overhead]byte{0x8a, 0x8d, 0x52, 0x97, 0xef, 0x51, 0xe5, 0xe2, 0x6d, 0x14, 0x33, 0xd4, 0x6d, 0xa2, 0x1c, 0xa2}

// selfTest tells whether a kernel seals as x/crypto does, opens that, and refuses
// what was changed: messages of all the sizes where it does something different.
func selfTest(seal, open func(*chachapoly.Key, []Message)) bool {
	var lanes chachapoly.Key
	lanes.Init(&selfTestKey)
	k := &Key{aead: newAEAD(&selfTestKey)}
	messages := newSelfTest()
	var plain, want [][]byte
	for _, m := range messages {
		sealed := bytes.Clone(m.Buf)
		k.Seal(sealed, m.Counter)
		plain, want = append(plain, bytes.Clone(m.Buf[:len(m.Buf)-Overhead])), append(want, sealed)
	}
	seal(&lanes, messages)
	var answer [Overhead]byte
	for i, m := range messages {
		if !bytes.Equal(m.Buf, want[i]) {
			return false
		}
		subtle.XORBytes(answer[:], answer[:], m.Buf[len(plain[i]):])
	}
	if answer != selfTestAnswer {
		return false
	}
	for i, m := range messages {
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
