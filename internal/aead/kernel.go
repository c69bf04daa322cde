package aead

import (
	"bytes"
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

// selfTest tells whether a kernel seals as x/crypto does, opens that, and refuses
// what was changed: messages of all the sizes where it does something different.
func selfTest(seal, open func(*chachapoly.Key, []Message)) bool {
	secret := [KeySize]byte{1, 2, 3, 5: 7, 31: 0xff}
	var lanes chachapoly.Key
	lanes.Init(&secret)
	k := &Key{aead: newAEAD(&secret)}
	messages, want := make([]Message, 0, selfTestMessages), [][]byte(nil)
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
