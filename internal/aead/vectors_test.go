package aead

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func TestOracleAgainstRFC8439(t *testing.T) {
	text, err := os.ReadFile("testdata/rfc8439.txt")
	if err != nil {
		t.Fatal(err)
	}
	vectors := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var f [5][]byte
		for i, s := range strings.Fields(line) {
			if f[i], err = hex.DecodeString(strings.Trim(s, "-")); err != nil {
				t.Fatal(err)
			}
		}
		got := oracleSeal((*[32]byte)(f[0]), (*[12]byte)(f[1]), f[3], f[2])
		if !bytes.Equal(got, f[4]) {
			t.Errorf("key %x:\n got %x\nwant %x", f[0], got, f[4])
		}
		vectors++
	}
	if vectors != 2 {
		t.Errorf("%d vectors, want 2", vectors)
	}
}

// lengths has every length up to 5 blocks of 64 bytes and a bit, and what is met on a wire.
func lengths() (n []int) {
	for i := range 340 {
		n = append(n, i)
	}
	return append(n, 511, 512, 513, 1408, 1420, 1424, 1488, 1500, 8944, 65503)
}

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

func TestKeyAgainstOracle(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for _, n := range lengths() {
		key := [32]byte(random(r, 32))
		plain := random(r, n)
		counter := r.Uint64()
		if n%3 == 0 {
			counter = uint64(n)
		}
		var nonce [12]byte
		binary.LittleEndian.PutUint64(nonce[4:], counter)
		want := oracleSeal(&key, &nonce, plain, nil)

		// What lies around buf must stay as it is.
		frame := bytes.Repeat([]byte{0xa5}, 8+n+Overhead+8)
		buf := frame[8 : 8+n+Overhead]
		copy(buf, plain)
		k := New(&key)
		if k.Seal(buf, counter); !bytes.Equal(buf, want) {
			t.Fatalf("%d bytes: sealed wrong", n)
		}
		if !k.Open(buf, counter) || !bytes.Equal(buf[:n], plain) {
			t.Fatalf("%d bytes: opened wrong", n)
		}
		if frame[7] != 0xa5 || !bytes.Equal(frame[8+n+Overhead:], frame[:8]) {
			t.Fatalf("%d bytes: wrote outside buf", n)
		}
	}
}

func TestOnceAgainstOracle(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	for _, n := range []int{0, 12, 16, 32, 64, 65} {
		key, plain, ad := [32]byte(random(r, 32)), random(r, n), random(r, 32)
		want := oracleSeal(&key, new([12]byte), plain, ad)
		buf := append(bytes.Clone(plain), make([]byte, Overhead)...)
		if SealOnce(&key, buf, ad); !bytes.Equal(buf, want) {
			t.Errorf("%d bytes: sealed wrong", n)
		}
		got := make([]byte, n)
		if !OpenOnce(&key, got, buf, ad) || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: opened wrong", n)
		}
		ad[n%32] ^= 1
		if OpenOnce(&key, got, buf, ad) || !bytes.Equal(got, make([]byte, n)) {
			t.Errorf("%d bytes: opened with other additional data, or left plaintext", n)
		}
		if OpenOnce(&key, got, buf[:n], ad) || OpenOnce(&key, make([]byte, n+1), buf, ad) {
			t.Errorf("%d bytes: opened what has a wrong size", n)
		}
	}
}

// Every bit of ciphertext and tag, the counter and the key are authenticated.
func TestTampering(t *testing.T) {
	r := rand.NewChaCha8([32]byte{3})
	for _, n := range []int{0, 1, 16, 64, 200} {
		key := [32]byte(random(r, 32))
		k := New(&key)
		sealed := random(r, n+Overhead)
		k.Seal(sealed, 42)
		for bit := range 8 * len(sealed) {
			bad := bytes.Clone(sealed)
			bad[bit/8] ^= 1 << (bit % 8)
			if k.Open(bad, 42) {
				t.Fatalf("%d bytes: opens with bit %d flipped", n, bit)
			}
		}
		for bit := range 64 {
			if k.Open(bytes.Clone(sealed), 42^1<<bit) {
				t.Fatalf("%d bytes: opens with bit %d of the counter flipped", n, bit)
			}
		}
		for _, bit := range []int{0, 100, 255} {
			other := key
			other[bit/8] ^= 1 << (bit % 8)
			if New(&other).Open(bytes.Clone(sealed), 42) {
				t.Fatalf("%d bytes: opens with bit %d of the key flipped", n, bit)
			}
		}
		for cut := range len(sealed) {
			if k.Open(bytes.Clone(sealed[:cut]), 42) {
				t.Fatalf("%d bytes: opens when cut to %d", n, cut)
			}
		}
		if k.Open(append(bytes.Clone(sealed), 0), 42) {
			t.Fatalf("%d bytes: opens when longer", n)
		}
		if !k.Open(sealed, 42) {
			t.Fatalf("%d bytes: the true one does not open", n)
		}
	}
}

func BenchmarkSeal1424(b *testing.B) {
	k, buf := New(&[32]byte{1}), make([]byte, 1424+Overhead)
	b.SetBytes(1424)
	for i := uint64(0); b.Loop(); i++ {
		k.Seal(buf, i)
	}
}

func BenchmarkOpen1424(b *testing.B) {
	k, sealed := New(&[32]byte{1}), make([]byte, 1424+Overhead)
	k.Seal(sealed, 1)
	buf := make([]byte, len(sealed))
	b.SetBytes(1424)
	for b.Loop() {
		copy(buf, sealed)
		if !k.Open(buf, 1) {
			b.Fatal("does not open")
		}
	}
}

func BenchmarkNewAndWipe(b *testing.B) {
	key := [32]byte{1}
	b.ReportAllocs()
	for b.Loop() {
		New(&key).Wipe()
	}
}
