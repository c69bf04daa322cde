package aead

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"culvert/internal/chachapoly"
)

// A batch of any number of messages is what they are one by one, with every
// kernel: the short rest goes another way.
func TestBatch(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	k := New(&[KeySize]byte{4, 5, 6})
	for count := range 3*chachapoly.Batch + 2 {
		var batch []Message
		var plain [][]byte
		for i := range count {
			buf := make([]byte, r.IntN(200)+Overhead)
			for j := range buf {
				buf[j] = byte(r.Uint32())
			}
			plain = append(plain, bytes.Clone(buf))
			batch = append(batch, Message{Buf: buf, Counter: uint64(i) * 1e12, Bad: i%2 == 0})
		}
		k.SealBatch(batch)
		for i, m := range batch {
			want := bytes.Clone(plain[i])
			if k.Seal(want, m.Counter); !bytes.Equal(m.Buf, want) {
				t.Fatalf("message %d of %d is sealed differently", i, count)
			}
		}
		if count > 0 {
			batch[count-1].Buf[3] ^= 1
		}
		k.OpenBatch(batch)
		for i, m := range batch {
			n := len(m.Buf) - Overhead
			if m.Bad != (i == count-1) || !m.Bad && !bytes.Equal(m.Buf[:n], plain[i][:n]) {
				t.Fatalf("message %d of %d: bad %v", i, count, m.Bad)
			}
		}
	}
}

// A message without room for a tag makes none of the others bad.
func TestShortMessageInABatch(t *testing.T) {
	k := New(&[KeySize]byte{1})
	batch := make([]Message, 20)
	for i := range batch {
		batch[i] = Message{Buf: make([]byte, 100), Counter: uint64(i)}
	}
	k.SealBatch(batch)
	batch[7].Buf = batch[7].Buf[:Overhead-1]
	k.OpenBatch(batch)
	for i, m := range batch {
		if m.Bad != (i == 7) {
			t.Errorf("message %d: bad %v", i, m.Bad)
		}
	}
}

func TestBatchWithAWipedKey(t *testing.T) {
	k := New(&[KeySize]byte{1})
	batch := make([]Message, 20)
	for i := range batch {
		batch[i].Buf = make([]byte, 100)
	}
	New(&[KeySize]byte{}).SealBatch(batch) // what anyone can seal
	k.Wipe()
	if k.lanes != (chachapoly.Key{}) {
		t.Error("the key survived Wipe")
	}
	k.OpenBatch(batch)
	for i, m := range batch {
		if !m.Bad {
			t.Errorf("message %d opens", i)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped key seals")
		}
	}()
	k.SealBatch(batch)
}

// A kernel that computes something else, opens what was changed, or loses what is
// right, is not used.
func TestSelfTest(t *testing.T) {
	seal := func(_ *chachapoly.Key, ms []Message) {
		k := New(&[KeySize]byte{1, 2, 3, 5: 7, 31: 0xff})
		for i := range ms {
			k.Seal(ms[i].Buf, ms[i].Counter)
		}
	}
	open := func(_ *chachapoly.Key, ms []Message) {
		k := New(&[KeySize]byte{1, 2, 3, 5: 7, 31: 0xff})
		for i := range ms {
			ms[i].Bad = !k.Open(ms[i].Buf, ms[i].Counter)
		}
	}
	if !selfTest(seal, open) {
		t.Error("x/crypto itself fails")
	}
	for at := range 32 {
		if selfTest(func(k *chachapoly.Key, ms []Message) { seal(k, ms); ms[at].Buf[len(ms[at].Buf)/2] ^= 1 }, open) {
			t.Errorf("a wrong message %d is not noticed", at)
		}
		if selfTest(seal, func(k *chachapoly.Key, ms []Message) { open(k, ms); ms[at].Bad = !ms[at].Bad }) {
			t.Errorf("a wrong verdict on message %d is not noticed", at)
		}
		if size := len(selfTestSizes); at%3 != 0 && at != 0 && (at >= size || at%size != 0) && selfTest(seal, func(k *chachapoly.Key, ms []Message) { open(k, ms); ms[at].Buf[0] ^= 1 }) {
			t.Errorf("a wrong plaintext %d is not noticed", at)
		}
	}
}

// What is asked for is used, in a process that has no key yet.
func TestUse(t *testing.T) {
	const child = "CULVERT_AEAD_CHILD"
	if kernel, ok := os.LookupEnv(child); ok {
		err := Use(kernel)
		fmt.Println("kernel", Kernel(), Failed(), err)
		return
	}
	best := Generic
	if chachapoly.Supported {
		best = AVX512
	}
	for ask, want := range map[string]string{
		"": "kernel " + best + " false <nil>", Generic: "kernel generic false <nil>",
		"sse2": "kernel " + best + ` false must be avx512 or generic, not "sse2"`,
	} {
		c := exec.Command(os.Args[0], "-test.run=^TestUse$")
		c.Env = append(os.Environ(), child+"="+ask)
		if out, err := c.Output(); err != nil || !strings.Contains(string(out), want+"\n") {
			t.Errorf("%q: %v, %s, not %s", ask, err, out, want)
		}
	}
}
