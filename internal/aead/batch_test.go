package aead

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"culvert/internal/chachapoly"
)

// each runs a test with a key of every kernel that this processor can run.
func each(t *testing.T, f func(*testing.T, *Key)) {
	for _, name := range Kernels() {
		t.Run(name, func(t *testing.T) {
			k, err := NewWith(name, &[KeySize]byte{4, 5, 6})
			if err != nil {
				t.Fatal(err)
			}
			f(t, k)
		})
	}
}

// A batch of any number of messages is what they are one by one, with every
// kernel: the short rest goes another way.
func TestBatch(t *testing.T) { each(t, testBatch) }

func testBatch(t *testing.T, k *Key) {
	r := rand.New(rand.NewPCG(7, 7))
	for count := range 70 {
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
func TestShortMessageInABatch(t *testing.T) { each(t, testShortMessage) }

func testShortMessage(t *testing.T, k *Key) {
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

func TestBatchWithAWipedKey(t *testing.T) { each(t, testWiped) }

func testWiped(t *testing.T, k *Key) {
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

// The known answer is that of RFC 8439 as it reads.
func TestSelfTestAnswer(t *testing.T) {
	var answer [Overhead]byte
	for _, m := range newSelfTest() {
		var nonce [12]byte
		binary.LittleEndian.PutUint64(nonce[4:], m.Counter)
		n := len(m.Buf) - Overhead
		subtle.XORBytes(answer[:], answer[:], oracleSeal(&selfTestKey, &nonce, m.Buf[:n], nil)[n:])
	}
	if answer != selfTestAnswer {
		t.Errorf("the answer is %#x", answer)
	}
}

// A kernel that computes something else, opens what was changed, or loses what is
// right, is not used.
func TestSelfTest(t *testing.T) {
	seal := func(_ *chachapoly.Key, ms []Message) {
		k := &Key{aead: newAEAD(&selfTestKey)}
		for i := range ms {
			k.Seal(ms[i].Buf, ms[i].Counter)
		}
	}
	open := func(_ *chachapoly.Key, ms []Message) {
		k := &Key{aead: newAEAD(&selfTestKey)}
		for i := range ms {
			ms[i].Bad = !k.Open(ms[i].Buf, ms[i].Counter)
		}
	}
	if !selfTest(seal, open) {
		t.Error("x/crypto itself fails")
	}
	for at := range selfTestMessages {
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
	all := strings.Join(Kernels(), ", ")
	best := Kernels()[0]
	asks := map[string]string{
		"":     "kernel " + best + " [] <nil>",
		"sse2": "kernel " + best + " [] must be one of " + all + ` on this processor, not "sse2"`,
	}
	for _, name := range Kernels() {
		asks[name] = "kernel " + name + " [] <nil>"
	}
	for ask, want := range asks {
		c := exec.Command(os.Args[0], "-test.run=^TestUse$")
		c.Env = append(os.Environ(), child+"="+ask)
		if out, err := c.Output(); err != nil || !strings.Contains(string(out), want+"\n") {
			t.Errorf("%q: %v, %s, not %s", ask, err, out, want)
		}
	}
}

// A kernel that fails its test is passed over, and told of.
func TestChoose(t *testing.T) {
	good, bad := &chachapoly.Kernel{Name: "good"}, &chachapoly.Kernel{Name: "bad"}
	all := []*chachapoly.Kernel{bad, good}
	passes := func(n *chachapoly.Kernel) bool { return n == good }
	for asked, want := range map[string]choice{
		"":      {good, []string{"bad"}},
		"good":  {good, nil},
		"bad":   {nil, []string{"bad"}},
		Generic: {nil, nil},
	} {
		if got := choose(asked, all, passes); got.kernel != want.kernel || !slices.Equal(got.failed, want.failed) {
			t.Errorf("asked for %q: %v, not %v", asked, got, want)
		}
	}
}
