package noise

import (
	"bytes"
	"crypto/hkdf"
	stdhmac "crypto/hmac"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/blake2s"

	"culvert/device/config"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newBlake2s() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err)
	}
	return h
}

func TestBLAKE2sVectors(t *testing.T) {
	// RFC 7693, appendix B.
	want := unhex(t, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
	if got := blake2s.Sum256([]byte("abc")); !bytes.Equal(got[:], want) {
		t.Errorf("BLAKE2s-256 of abc is %x", got)
	}
}

// Keyed BLAKE2s-128 of 0, 1, 2, ... under the key 0, 1, ... 15, computed with another implementation (Python's hashlib).
func TestMAC(t *testing.T) {
	var data [255]byte
	for i := range data {
		data[i] = byte(i)
	}
	for n, want := range map[int]string{
		0:   "af4e5d3bb230e9ff9096ca6f7c501f76",
		1:   "881e42e7bb358082637c0a0fd7ec6c2f",
		16:  "45641de149ed085b90f1171e48175d78",
		63:  "2151a1ac11ef2763a427614c612b3de0",
		64:  "dd55c51c98f8ab96ed272882941f0b6a",
		65:  "9018c671bb7e94a6d540a91765bbecad",
		116: "b9b1bbba1b59e4349d1018f97d243fca",
		132: "b03d1196bdcfaad40f911db86b79ac7e",
		255: "b2953795123bd6b890ef3b6fa8b9bae2",
	} {
		if got := mac(data[:16], data[:n]); hex.EncodeToString(got[:]) != want {
			t.Errorf("mac of %d bytes is %x, want %s", n, got, want)
		}
	}
}

func TestHKDFAgainstStandardLibrary(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for n := range keySize + 1 {
		var key [keySize]byte
		r.Read(key[:])
		input := make([]byte, n)
		r.Read(input)

		h := stdhmac.New(newBlake2s, key[:])
		h.Write(input)
		if got := hmac(&key, input, 0); !bytes.Equal(got[:], h.Sum(nil)) {
			t.Errorf("hmac of %d bytes differs", n)
		}
		want, err := hkdf.Key(newBlake2s, input, key[:], "", 3*keySize)
		if err != nil {
			t.Fatal(err)
		}
		t1, t2, t3 := kdf3(&key, input)
		if got := bytes.Join([][]byte{t1[:], t2[:], t3[:]}, nil); !bytes.Equal(got, want) {
			t.Errorf("kdf3 of %d bytes differs", n)
		}
		if u1, u2 := kdf2(&key, input); u1 != t1 || u2 != t2 {
			t.Errorf("kdf2 of %d bytes differs", n)
		}
		if kdf1(&key, input) != t1 {
			t.Errorf("kdf1 of %d bytes differs", n)
		}
	}
}

func TestSymmetricAllocatesNothing(t *testing.T) {
	var s symmetric
	var secret, key [keySize]byte
	var out [3][keySize]byte
	var psk config.PresharedKey
	field := make([]byte, maxMix)
	for name, run := range map[string]func(){
		"mixHash":  func() { s.mixHash(field) },
		"mixChain": func() { s.mixChain(&secret) },
		"mixKey":   func() { key = s.mixKey(&secret) },
		"mixPSK":   func() { key = s.mixPSK(&psk) },
		"kdf1":     func() { out[0] = kdf1(&key, nil) },
		"kdf2":     func() { out[0], out[1] = kdf2(&key, nil) },
		"kdf3":     func() { out[0], out[1], out[2] = kdf3(&key, secret[:]) },
		"hmac":     func() { out[0] = hmac(&out[1], out[2][:], 1) },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestSealAndOpenWipeTheirKey(t *testing.T) {
	key := [keySize]byte{1}
	s := begin(&config.PublicKey{2})
	other := s
	field := make([]byte, 12+TagSize)
	s.seal(&key, field, []byte("hello, world"))
	if key != [keySize]byte{} {
		t.Error("seal left its key")
	}
	key = [keySize]byte{1}
	plain := make([]byte, 12)
	if !other.open(&key, plain, field) || string(plain) != "hello, world" {
		t.Errorf("opened %q", plain)
	}
	if key != [keySize]byte{} {
		t.Error("open left its key")
	}
	if s != other {
		t.Error("the two sides disagree")
	}
}
