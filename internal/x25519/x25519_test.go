package x25519

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

type key = [Size]byte

// pair is a private key, not clamped, and a public one; nil is the base point.
type pair struct {
	private key
	public  *key
}

// clamped is k as X25519 reads it (RFC 7748, section 5).
func clamped(k key) key {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// ways are those to compute products.
var ways = map[string]func([]Product){
	"Multiply": Multiply,
	"one": func(products []Product) {
		for i := range products {
			one(&products[i])
		}
	},
}

// computed computes all pairs.
func computed(pairs []pair, by func([]Product)) []key {
	private, public, to := make([]key, len(pairs)), make([]key, len(pairs)), make([]key, len(pairs))
	products := make([]Product, len(pairs))
	for i, p := range pairs {
		private[i] = clamped(p.private)
		products[i] = Product{Private: &private[i], To: &to[i]}
		if p.public != nil {
			public[i] = *p.public
			products[i].Public = &public[i]
		}
		to[i][3] = 0xaa // is overwritten
	}
	by(products)
	return to
}

// standard is what crypto/ecdh says; it refuses what is zero.
func standard(t testing.TB, p pair) (to key) {
	k, err := ecdh.X25519().NewPrivateKey(p.private[:])
	if err != nil {
		t.Fatal(err)
	}
	if p.public == nil {
		return key(k.PublicKey().Bytes())
	}
	public, err := ecdh.X25519().NewPublicKey(p.public[:])
	if err != nil {
		t.Fatal(err)
	}
	if b, err := k.ECDH(public); err == nil {
		to = key(b)
	}
	return to
}

// compare compares every way with crypto/ecdh.
func compare(t *testing.T, pairs []pair) {
	t.Helper()
	for name, by := range ways {
		for i, got := range computed(pairs, by) {
			if want := standard(t, pairs[i]); got != want {
				t.Errorf("%s: lane %d: private %x, public %x: %x, want %x", name, i%lanes, pairs[i].private, pairs[i].public, got, want)
			}
		}
	}
}

func unhex(t *testing.T, s string) key {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return key(b)
}

// RFC 7748, section 5.2: k, u = X25519(k, u), k from u = 9, in each lane.
func TestIterated(t *testing.T) {
	for name, by := range ways {
		k, u := [8]key{}, [8]key{}
		for i := range 8 {
			k[i], u[i] = key{9}, key{9}
		}
		for i := range 1000 {
			pairs := make([]pair, 8)
			for j := range pairs {
				pairs[j] = pair{k[j], &u[j]}
			}
			r := computed(pairs, by)
			u = k
			copy(k[:], r)
			want := map[int]string{
				0:   "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
				999: "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
			}[i]
			for j := range k {
				if want != "" && hex.EncodeToString(k[j][:]) != want {
					t.Fatalf("%s: lane %d after %d: %x, want %s", name, j, i+1, k[j], want)
				}
			}
		}
	}
}

func TestWycheproof(t *testing.T) {
	text, err := os.ReadFile("testdata/wycheproof.txt")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var pairs []pair
	var want []key
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 5 {
			t.Fatalf("not a vector: %s", line)
		}
		public := unhex(t, f[3])
		ids, pairs, want = append(ids, f[0]), append(pairs, pair{unhex(t, f[2]), &public}), append(want, unhex(t, f[4]))
	}
	if len(ids) != 518 {
		t.Errorf("%d vectors, not 518", len(ids))
	}
	for name, by := range ways {
		for i, got := range computed(pairs, by) {
			if got != want[i] {
				t.Errorf("%s: vector %s: %x, want %x", name, ids[i], got, want[i])
			}
		}
	}
}

// edges are numbers where carries and reductions happen: around 0, powers of
// two at the borders of words and limbs, the field's prime, its double and the group's order, and
// words that are empty or full. Little-endian.
func edges() (all []key) {
	add := func(n *big.Int) {
		if n.Sign() >= 0 && n.BitLen() <= 256 {
			var b key
			n.FillBytes(b[:])
			for i := range 16 {
				b[i], b[31-i] = b[31-i], b[i]
			}
			all = append(all, b)
		}
	}
	two := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	around := []*big.Int{big.NewInt(0), prime, new(big.Int).Lsh(prime, 1), l, new(big.Int).Lsh(l, 3), new(big.Int).Rsh(prime, 1)}
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

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

func TestAgainstStandardLibrary(t *testing.T) {
	r := rand.NewChaCha8([32]byte{7})
	random := func() (b key) { r.Read(b[:]); return b }
	var pairs []pair
	for i := range 2000 {
		p := random()
		pairs = append(pairs, pair{random(), &p})
		if i%11 == 0 {
			pairs[i].public = nil
		}
	}
	all := edges()
	for i, e := range all {
		a, b := random(), all[(i*7+1)%len(all)]
		pairs = append(pairs, pair{e, &a}, pair{random(), &all[i]}, pair{e, &b}, pair{e, nil})
	}
	compare(t, pairs)
}

// Every number of products, also where the secret takes the place of a key.
func TestNumbers(t *testing.T) {
	r := rand.NewChaCha8([32]byte{8})
	for n := range 20 {
		for _, inPlace := range []bool{false, true} {
			private, public, want := make([]key, n), make([]key, n), make([]key, n)
			products := make([]Product, n)
			for i := range n {
				r.Read(private[i][:])
				r.Read(public[i][:])
				private[i] = clamped(private[i])
				products[i] = Product{&private[i], &public[i], &want[i]}
				one(&products[i])
				if products[i].To = new(key); inPlace {
					products[i].To = &public[i]
				}
			}
			Multiply(products)
			for i := range n {
				if *products[i].To != want[i] {
					t.Errorf("product %d of %d: %x, want %x", i, n, *products[i].To, want[i])
				}
			}
		}
	}
}

// Several at the same time, each with memory of its own.
func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.NewChaCha8([32]byte{10, byte(g)})
			for range 100 {
				var pairs [11]pair
				for i := range pairs {
					var p key
					r.Read(pairs[i].private[:])
					r.Read(p[:])
					pairs[i].public = &p
				}
				want := computed(pairs[:], ways["one"])
				if got := computed(pairs[:], Multiply); !slices.Equal(got, want) {
					t.Errorf("%x, want %x", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocatesNothing(t *testing.T) {
	private, public, to := clamped(key{1}), key{9}, key{}
	products := []Product{{&private, &public, &to}, {&private, nil, &to}}
	Multiply(products)
	if n := testing.AllocsPerRun(10, func() { Multiply(products) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMultiply(f *testing.F) {
	f.Add(bytes.Repeat([]byte{9}, 64))
	f.Add(bytes.Repeat([]byte{0xff}, 64*8))
	f.Fuzz(func(t *testing.T, b []byte) {
		var pairs []pair
		for ; len(b) >= 64 && len(pairs) < 2*lanes; b = b[64:] {
			public := key(b[32:])
			pairs = append(pairs, pair{key(b), &public})
		}
		compare(t, pairs)
	})
}

func BenchmarkMultiply(b *testing.B) {
	r := rand.NewChaCha8([32]byte{9})
	var private, public, to [8]key
	var products [8]Product
	for i := range products {
		r.Read(private[i][:])
		r.Read(public[i][:])
		private[i] = clamped(private[i])
		products[i] = Product{&private[i], &public[i], &to[i]}
	}
	for _, c := range []struct {
		name string
		n    int
	}{{"1", 1}, {"2", 2}, {"8", 8}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				Multiply(products[:c.n])
			}
		})
	}
}
