package aead

import "testing"

// A field of a handshake costs one allocation, x/crypto's value for its key.
func TestOnceAllocatesOnce(t *testing.T) {
	key := [KeySize]byte{1}
	field, plain, ad := make([]byte, 12+Overhead), make([]byte, 12), make([]byte, 32)
	if n := testing.AllocsPerRun(100, func() { SealOnce(&key, field, ad) }); n > 1 {
		t.Errorf("%v allocations to seal", n)
	}
	copy(field, plain)
	SealOnce(&key, field, ad)
	if n := testing.AllocsPerRun(100, func() {
		if !OpenOnce(&key, plain, field, ad) {
			t.Error("does not open")
		}
	}); n > 1 {
		t.Errorf("%v allocations to open", n)
	}
}
