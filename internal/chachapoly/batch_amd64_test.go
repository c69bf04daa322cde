package chachapoly

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// each runs a test with every kernel that this processor has.
func each(t *testing.T, f func(*testing.T, *Kernel)) {
	all := Kernels()
	if len(all) == 0 {
		t.Skip("this processor has no kernel")
	}
	for _, n := range all {
		t.Run(n.Name, func(t *testing.T) { f(t, n) })
	}
}

// reference seals with x/crypto.
func reference(key *[KeySize]byte, plain []byte, counter uint64) []byte {
	a, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err)
	}
	var nonce [12]byte
	binary.LittleEndian.PutUint64(nonce[4:], counter)
	return a.Seal(nil, nonce[:], plain, nil)
}

// check seals and opens messages of those sizes, against x/crypto.
func check(t *testing.T, kernel *Kernel, r *rand.Rand, sizes []int) {
	t.Helper()
	var secret [KeySize]byte
	random(r, secret[:])
	var k Key
	k.Init(&secret)
	room := 0
	for _, n := range sizes {
		room += n + Overhead + 71
	}
	arena := make([]byte, 0, room) // one behind the other, as packets are
	var messages []Message
	var want, plain [][]byte
	for _, n := range sizes {
		counter := r.Uint64()
		gap := r.IntN(70) // any alignment
		arena = arena[:len(arena)+gap+n+Overhead+1]
		buf := arena[len(arena)-1-n-Overhead : len(arena)-1 : len(arena)-1]
		random(r, buf)
		plain = append(plain, bytes.Clone(buf[:n]))
		want = append(want, reference(&secret, buf[:n], counter))
		messages = append(messages, Message{Buf: buf, Counter: counter})
	}
	kernel.Seal(&k, messages)
	for i, m := range messages {
		if !bytes.Equal(m.Buf, want[i]) {
			t.Fatalf("sizes %v: message %d is sealed differently", sizes, i)
		}
	}
	// Some are damaged, at one bit anywhere.
	damaged := make([]bool, len(messages))
	for i := range messages {
		if r.IntN(4) == 0 {
			damaged[i] = true
			at := r.IntN(len(want[i]))
			messages[i].Buf[at] ^= 1 << r.IntN(8)
			want[i] = bytes.Clone(messages[i].Buf)
		}
	}
	kernel.Open(&k, messages)
	for i, m := range messages {
		switch {
		case m.Bad != damaged[i]:
			t.Fatalf("sizes %v: message %d, damaged: %v, bad: %v", sizes, i, damaged[i], m.Bad)
		case m.Bad && !bytes.Equal(m.Buf, want[i]):
			t.Fatalf("sizes %v: message %d is bad, and was changed", sizes, i)
		case !m.Bad && !bytes.Equal(m.Buf[:len(plain[i])], plain[i]):
			t.Fatalf("sizes %v: message %d opens to something else", sizes, i)
		}
	}
}

func random(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// Every size up to two packets, alone and in batches of all shapes.
func TestAgainstXCrypto(t *testing.T) { each(t, testAgainstXCrypto) }

func testAgainstXCrypto(t *testing.T, kernel *Kernel) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		check(t, kernel, r, []int{n})
	}
	for count := 1; count <= 3*kernel.Batch+1; count++ {
		for range 20 {
			sizes := make([]int, count)
			same := r.IntN(1500)
			for i := range sizes {
				switch r.IntN(3) {
				case 0:
					sizes[i] = r.IntN(1500)
				case 1:
					sizes[i] = r.IntN(130)
				default:
					sizes[i] = same
				}
			}
			check(t, kernel, r, sizes)
		}
	}
	check(t, kernel, r, []int{70_000})
	check(t, kernel, r, []int{0, 65_519, 16, 0, 1})
	for range 40 {
		check(t, kernel, r, []int{r.IntN(70_001), r.IntN(70_001), r.IntN(100)})
	}
}

// Batches of any shape: each byte of shapes is a message of up to two packets, the
// largest of up to 70,000 bytes.
func FuzzAgainstXCrypto(f *testing.F) {
	f.Add([]byte{0, 1, 255, 128, 64, 3}, uint64(1))
	f.Add(bytes.Repeat([]byte{120}, 33), uint64(2))
	f.Fuzz(func(t *testing.T, shapes []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		sizes := make([]int, 0, 40)
		for _, s := range shapes[:min(len(shapes), 40)] {
			if s >= 252 {
				sizes = append(sizes, r.IntN(70_001))
			} else {
				sizes = append(sizes, int(s)*11+r.IntN(11))
			}
		}
		for _, kernel := range Kernels() {
			check(t, kernel, r, sizes)
		}
	})
}

// Numbers that make every carry of Poly1305 happen, and accumulators next to the
// prime: blocks of ones and of zeros, and keys of both.
func TestPolyEdges(t *testing.T) { each(t, testPolyEdges) }

func testPolyEdges(t *testing.T, kernel *Kernel) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 20_000 {
		w := newWork(kernel)
		messages := make([]Message, 8)
		for i := range messages {
			buf := make([]byte, 16*(1+r.IntN(12))+Overhead)
			for j := 0; j < len(buf)-Overhead; j += 8 {
				v := []uint64{0, ^uint64(0), ^uint64(4), 1, r.Uint64()}[r.IntN(5)]
				binary.LittleEndian.PutUint64(buf[j:], v)
			}
			messages[i].Buf = buf
			for j := 0; j < 32; j += 8 {
				v := []uint64{0, ^uint64(0), 1, 5, r.Uint64()}[r.IntN(5)]
				binary.LittleEndian.PutUint64(w.keys[i][j:], v)
			}
		}
		w.authenticate(messages, 0)
		for i := range messages {
			var got [16]byte
			binary.LittleEndian.PutUint64(got[:], w.tags[0][i])
			binary.LittleEndian.PutUint64(got[8:], w.tags[1][i])
			n := len(messages[i].Buf) - Overhead
			text := append(bytes.Clone(messages[i].Buf[:n]), make([]byte, 16)...)
			binary.LittleEndian.PutUint64(text[n+8:], uint64(n))
			if want := polyOracle(&w.keys[i], text); got != want {
				t.Fatalf("round %d, key %x, text %x: tag %x, not %x", round, w.keys[i], text, got, want)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) { each(t, testNoAllocations) }

func testNoAllocations(t *testing.T, kernel *Kernel) {
	var k Key
	k.Init(&[KeySize]byte{1})
	messages := newBatch(32, 1424)
	if n := testing.AllocsPerRun(100, func() {
		kernel.Seal(&k, messages)
		kernel.Open(&k, messages)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func newBatch(count, size int) []Message {
	messages := make([]Message, count)
	arena := make([]byte, count*(size+Overhead))
	for i := range messages {
		messages[i] = Message{Buf: arena[i*(size+Overhead):][:size+Overhead], Counter: uint64(i)}
	}
	return messages
}

// Against x/crypto in the same run: ns/msg is what to compare.
func BenchmarkBatch(b *testing.B) {
	var secret [KeySize]byte
	var k Key
	k.Init(&secret)
	x, _ := chacha20poly1305.New(secret[:])
	seal := func(messages []Message) {
		var nonce [12]byte
		for _, m := range messages {
			binary.LittleEndian.PutUint64(nonce[4:], m.Counter)
			x.Seal(m.Buf[:0], nonce[:], m.Buf[:len(m.Buf)-Overhead], nil)
		}
	}
	open := func(messages []Message) {
		var nonce [12]byte
		for i, m := range messages {
			binary.LittleEndian.PutUint64(nonce[4:], m.Counter)
			_, err := x.Open(m.Buf[:0], nonce[:], m.Buf, nil)
			messages[i].Bad = err != nil
		}
	}
	for _, size := range []int{80, 256, 1424, 8900} {
		for _, count := range []int{1, 4, 8, 16, 32} {
			for _, kernel := range append(Kernels(), &Kernel{Name: "generic"}) {
				messages, seal, open := newBatch(count, size), seal, open
				if kernel.Batch > 0 {
					seal = func(m []Message) { kernel.Seal(&k, m) }
					open = func(m []Message) { kernel.Open(&k, m) }
				}
				run := func(name string, f func()) {
					b.Run(fmt.Sprintf("%s/%d/%d/%s", name, size, count, kernel.Name), func(b *testing.B) {
						b.SetBytes(int64(size * count))
						for b.Loop() {
							f()
						}
						b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/msg")
					})
				}
				run("seal", func() { seal(messages) })
				// Opening is in place, so what is opened is a copy; the copying counts.
				seal(messages)
				sealed := make([][]byte, count)
				for i, m := range messages {
					sealed[i] = bytes.Clone(m.Buf)
				}
				run("open", func() {
					for i, m := range messages {
						copy(m.Buf, sealed[i])
					}
					if open(messages); messages[count-1].Bad {
						b.Fatal("does not open")
					}
				})
			}
		}
	}
}
