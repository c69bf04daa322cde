package noise

import (
	"encoding/hex"
	"testing"

	"culvert/device/config"
)

// RFC 7748, section 6.1: Alice and Bob.
func TestIdentityVectors(t *testing.T) {
	var (
		alice  = config.PrivateKey(unhex(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
		bob    = config.PrivateKey(unhex(t, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
		alices = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
		bobs   = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
		shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
	)
	a, err := NewIdentity(&alice)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewIdentity(&bob)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.PublicKey(); hex.EncodeToString(got[:]) != alices {
		t.Errorf("Alice's public key is %x", got)
	}
	if got := b.PublicKey(); hex.EncodeToString(got[:]) != bobs {
		t.Errorf("Bob's public key is %x", got)
	}
	ab, err := a.StaticShared(b.PublicKey())
	if err != nil || hex.EncodeToString(ab[:]) != shared {
		t.Errorf("Alice computes %x, %v", ab, err)
	}
	ba, err := b.StaticShared(a.PublicKey())
	if err != nil || ba != ab {
		t.Errorf("Bob computes %x, %v", ba, err)
	}
}

// lowOrderPoints are the encodings, canonical or not, of the points of order
// 1, 2, 4 and 8 on the curve and its twist (cr.yp.to/ecdh.html, "validate").
var lowOrderPoints = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	// The same with the top bit, which X25519 ignores.
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestStaticSharedRefusesLowOrder(t *testing.T) {
	id := testIdentity(t, 1)
	for _, p := range lowOrderPoints {
		shared, err := id.StaticShared(config.PublicKey(unhex(t, p)))
		if err != ErrLowOrder || shared != [32]byte{} {
			t.Errorf("%s: %x, %v", p, shared, err)
		}
	}
}

func testIdentity(t testing.TB, seed byte) *Identity {
	t.Helper()
	id, err := NewIdentity(&config.PrivateKey{seed, 31: seed})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNewIdentity(t *testing.T) {
	if id, err := NewIdentity(&config.PrivateKey{}); id != nil || err != ErrZeroKey {
		t.Errorf("key 0: %v, %v", id, err)
	}
	k := config.PrivateKey{0xff, 31: 0xff}
	raw, err := NewIdentity(&k)
	if err != nil {
		t.Fatal(err)
	}
	k.Clamp()
	clamped, err := NewIdentity(&k)
	if err != nil || raw.PublicKey() != clamped.PublicKey() {
		t.Errorf("an unclamped key is another identity (%v)", err)
	}
	// Only bits that clamping overwrites: that is no zero key.
	if _, err := NewIdentity(&config.PrivateKey{7}); err != nil {
		t.Errorf("key 7: %v", err)
	}
}
