package aead

import (
	"bytes"
	"testing"
)

func TestSealAndOpenAllocateNothing(t *testing.T) {
	k := New(&[KeySize]byte{1, 2, 3})
	buf := make([]byte, 1424+Overhead)
	counter := uint64(0)
	n := testing.AllocsPerRun(200, func() {
		k.Seal(buf, counter)
		if !k.Open(buf, counter) {
			t.Fatal("own packet does not open")
		}
		if buf[0] ^= 1; k.Open(buf, counter) {
			t.Fatal("plaintext opens")
		}
		counter++
	})
	if n != 0 {
		t.Errorf("%v allocations per packet, want 0", n)
	}
}

func TestWipe(t *testing.T) {
	key := [KeySize]byte{9, 8, 7}
	k := New(&key)
	if k.secret == nil {
		t.Fatal("x/crypto no longer keeps its key first: Wipe would not overwrite it")
	}
	kept := k.secret
	sealed := make([]byte, 32+Overhead)
	k.Seal(sealed, 5)
	k.Wipe()
	k.Wipe()
	if *kept != [KeySize]byte{} {
		t.Error("the key survived Wipe")
	}
	if k.Open(bytes.Clone(sealed), 5) {
		t.Error("a wiped key opens")
	}
	// Least of all may it open what anyone can seal with the key 0.
	New(&[KeySize]byte{}).Seal(sealed, 6)
	if k.Open(sealed, 6) {
		t.Error("a wiped key is the key 0")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped key seals")
		}
	}()
	k.Seal(sealed, 7)
}
