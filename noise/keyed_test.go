package noise

import (
	"math/rand/v2"
	"testing"

	"culvert/device/config"
)

// A Hasher gives what a keyed hash.Hash gives, whatever it hashed before.
func TestHasher(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	var h Hasher
	for n := range keySize {
		key := make([]byte, n+1)
		r.Read(key)
		k := h.prepare(key)
		for _, size := range []int{0, 1, 6, 18, 60, 63, 64, 65, 116, 127, 128, 129, 132, 300} {
			data := make([]byte, size)
			r.Read(data)
			want := mac(key, data)
			if got := h.macOnce(key, data); got != want {
				t.Errorf("key of %d bytes, %d of data: %x, want %x", n+1, size, got, want)
			}
			if got := h.mac(&k, data); got != want && size != 0 {
				t.Errorf("prepared key of %d bytes, %d of data: %x, want %x", n+1, size, got, want)
			}
		}
	}
}

// What is kept beside a prepared key does not show it.
func TestPreparedKeyHasNoBlock(t *testing.T) {
	k := new(Hasher).prepare([]byte("some secret or other"))
	if [stateOffset + 1 - stateBlock]byte(k[stateBlock:]) != [stateOffset + 1 - stateBlock]byte{} {
		t.Errorf("block %x", k[stateBlock:])
	}
}

// One Hasher serves identity after identity.
func TestHasherOutlivesAnIdentity(t *testing.T) {
	var h Hasher
	for seed := range byte(3) {
		w := newWorld(t, 40+seed, config.PresharedKey{})
		w.initiate(t)
		if !w.b.CheckMAC1(&h, w.initiation[:]) || w.a.CheckMAC1(&h, w.initiation[:]) {
			t.Errorf("identity %d: mac1", seed)
		}
	}
}

// Whoever knows no more than our address can make us do these as often as the
// link carries datagrams.
func TestMACChecksAllocateNothing(t *testing.T) {
	w := newWorld(t, 43, config.PresharedKey{})
	w.initiate(t)
	c := NewCookieChecker(w.b.PublicKey())
	var h Hasher
	for name, check := range map[string]func(){
		"mac1": func() {
			if !w.b.CheckMAC1(&h, w.initiation[:]) {
				t.Error("mac1 is wrong")
			}
		},
		"mac2": func() {
			if c.CheckMAC2(start, w.rand, w.initiation[:], home) {
				t.Error("mac2 is good")
			}
		},
	} {
		if n := testing.AllocsPerRun(100, check); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
