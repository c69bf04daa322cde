package noise

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// exchange is an X25519 of ours: the public key of private, and private's DH with public.
type exchange func(t testing.TB, private, public [32]byte) (own, shared [32]byte, err error)

func ofEphemeral(t testing.TB, private, public [32]byte) (own, shared [32]byte, err error) {
	var e keyPair
	if err := e.generate(bytes.NewReader(private[:])); err != nil {
		t.Fatal(err)
	}
	shared, err = e.dh(&public)
	return e.public, shared, err
}

func ofIdentity(t testing.TB, private, public [32]byte) (own, shared [32]byte, err error) {
	id, err := NewIdentity(private)
	if err != nil {
		t.Fatal(err)
	}
	shared, err = id.static.dh(&public)
	return id.static.public, shared, err
}

// standard is what crypto/ecdh says.
func standard(t testing.TB, private, public [32]byte) (own, shared [32]byte, err error) {
	k, err1 := ecdh.X25519().NewPrivateKey(private[:])
	p, err2 := ecdh.X25519().NewPublicKey(public[:])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	own = [32]byte(k.PublicKey().Bytes())
	b, err := k.ECDH(p)
	if err != nil {
		return own, shared, ErrLowOrder
	}
	return own, [32]byte(b), nil
}

// RFC 7748, section 5.2: single values.
func TestX25519Vectors(t *testing.T) {
	for _, c := range []struct{ private, public, shared string }{
		{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	} {
		for name, x := range map[string]exchange{"ephemeral": ofEphemeral, "identity": ofIdentity} {
			_, shared, err := x(t, [32]byte(unhex(t, c.private)), [32]byte(unhex(t, c.public)))
			if err != nil || hex.EncodeToString(shared[:]) != c.shared {
				t.Errorf("%s: %x, %v", name, shared, err)
			}
		}
	}
}

// RFC 7748, section 5.2: k, u = X25519(k, u), k from u = 9.
func TestX25519Iterated(t *testing.T) {
	for name, x := range map[string]exchange{"ephemeral": ofEphemeral, "identity": ofIdentity} {
		k, u := [32]byte{9}, [32]byte{9}
		for i := range 1000 {
			_, r, err := x(t, k, u)
			if err != nil {
				t.Fatal(err)
			}
			k, u = r, k
			want := map[int]string{
				0:   "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
				999: "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
			}[i]
			if want != "" && hex.EncodeToString(k[:]) != want {
				t.Fatalf("%s after %d: %x, want %s", name, i+1, k, want)
			}
		}
	}
}

// compareX25519 compares e with crypto/ecdh, also in what it refuses.
func compareX25519(t *testing.T, private, public [32]byte) {
	t.Helper()
	own, shared, err := ofEphemeral(t, private, public)
	wantOwn, want, wantErr := standard(t, private, public)
	if own != wantOwn || shared != want || err != wantErr {
		t.Errorf("private %x, public %x:\n%x, %x, %v, want\n%x, %x, %v", private, public, own, shared, err, wantOwn, want, wantErr)
	}
}

// edges are numbers where carries and reductions happen: around 0, powers of
// two at the borders of words, the field's prime, its double and the group's order, and
// words that are empty or full. Little-endian.
func edges() (all [][32]byte) {
	add := func(n *big.Int) {
		if n.Sign() >= 0 && n.BitLen() <= 256 {
			var b [32]byte
			n.FillBytes(b[:])
			for i := range 16 {
				b[i], b[31-i] = b[31-i], b[i]
			}
			all = append(all, b)
		}
	}
	two := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	p := new(big.Int).Sub(two(255), big.NewInt(19))
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	around := []*big.Int{big.NewInt(0), p, new(big.Int).Lsh(p, 1), l, new(big.Int).Lsh(l, 3), new(big.Int).Rsh(p, 1)}
	for _, n := range []uint{51, 64, 102, 128, 153, 192, 204, 254, 255, 256} {
		around = append(around, two(n))
	}
	for _, n := range around {
		for d := int64(-20); d <= 20; d++ {
			add(new(big.Int).Add(n, big.NewInt(d)))
		}
	}
	for words := range 81 { // each of four is 0, 2^64-1 or 2^63
		n := new(big.Int)
		for range 4 {
			n.Lsh(n, 64)
			n.Add(n, []*big.Int{{}, new(big.Int).Sub(two(64), big.NewInt(1)), two(63)}[words%3])
			words /= 3
		}
		add(n)
	}
	return all
}

func TestX25519AgainstStandardLibrary(t *testing.T) {
	r := rand.NewChaCha8([32]byte{7})
	random := func() (b [32]byte) { r.Read(b[:]); return b }
	for range 2000 {
		compareX25519(t, random(), random())
	}
	all := edges()
	for _, p := range lowOrderPoints {
		all = append(all, [32]byte(unhex(t, p)))
	}
	for i, e := range all {
		compareX25519(t, e, random())
		compareX25519(t, random(), e)
		compareX25519(t, e, all[(i*7+1)%len(all)])
	}
}

func FuzzX25519(f *testing.F) {
	f.Add(bytes.Repeat([]byte{9}, 64))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 64 {
			compareX25519(t, [32]byte(b), [32]byte(b[32:]))
		}
	})
}

func TestEphemeralRefusesLowOrder(t *testing.T) {
	for _, p := range lowOrderPoints {
		_, shared, err := ofEphemeral(t, [32]byte{1, 2, 3}, [32]byte(unhex(t, p)))
		if err != ErrLowOrder || shared != [32]byte{} {
			t.Errorf("%s: %x, %v", p, shared, err)
		}
	}
}

func TestEphemeralWipe(t *testing.T) {
	var e keyPair
	if err := e.generate(bytes.NewReader(make([]byte, 32))); err != nil || e.wiped() {
		t.Errorf("a key of zeros looks wiped (%v)", err)
	}
	if e.wipe(); !e.wiped() || e != (keyPair{}) {
		t.Error("wipe left something")
	}
	half := iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(bytes.Repeat([]byte{5}, 32))))
	if err := e.generate(half); !errors.Is(err, iotest.ErrTimeout) || e != (keyPair{}) {
		t.Errorf("%v left %x", err, e.private)
	}
	if n := testing.AllocsPerRun(10, func() { e.dh(&[32]byte{9}) }); n != 0 {
		t.Errorf("%v allocations for a DH", n)
	}
}
