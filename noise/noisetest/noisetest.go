// Package noisetest helps tests of other packages to handshakes that always
// come out the same.
package noisetest

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"culvert/device/config"
	"culvert/noise"
)

// Rand is an endless stream of bytes that depends on seed alone. It is safe for
// concurrent use, as devices want it of theirs. Never for anything but tests.
func Rand(seed uint64) io.Reader {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return &stream{r: rand.NewChaCha8(s)}
}

// stream is a ChaCha8 for several goroutines.
type stream struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

// Read implements [io.Reader].
func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}

// Key is a private key made of the next 32 bytes of rand.
func Key(rand io.Reader) (k config.PrivateKey) {
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		panic(err)
	}
	k.Clamp()
	return k
}

// Pair is two identities that know each other.
type Pair struct {
	A, B     *noise.Identity
	ToA, ToB *noise.Remote // A as B sees it, B as A sees it
}

// NewPair makes two identities of rand, without a preshared key.
func NewPair(t testing.TB, rand io.Reader) *Pair {
	t.Helper()
	p := &Pair{A: identity(t, rand), B: identity(t, rand)}
	p.ToA = remote(t, p.B, p.A)
	p.ToB = remote(t, p.A, p.B)
	return p
}

func identity(t testing.TB, rand io.Reader) *noise.Identity {
	t.Helper()
	k := Key(rand)
	id, err := noise.NewIdentity(&k)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func remote(t testing.TB, own, other *noise.Identity) *noise.Remote {
	t.Helper()
	shared, err := own.StaticShared(other.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return &noise.Remote{Static: other.PublicKey(), Shared: shared}
}

// FindA is the find function of B's OpenInitiation.
func (p *Pair) FindA(k config.PublicKey) *noise.Remote {
	if k != p.A.PublicKey() {
		return nil
	}
	return p.ToA
}

// Handshake runs a whole handshake from A to B and gives both ends' keypairs, under the
// indices localA and localB.
func (p *Pair) Handshake(t testing.TB, rand io.Reader, localA, localB uint32, wall time.Time) (a, b *noise.Keypair) {
	t.Helper()
	var i [noise.InitiationSize]byte
	h, err := noise.CreateInitiation(rand, p.A, p.ToB, localA, noise.NewTimestamp(wall), &i)
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.B.OpenInitiation(i[:], p.FindA)
	if err != nil {
		t.Fatal(err)
	}
	var r [noise.ResponseSize]byte
	if b, err = noise.CreateResponse(rand, &in, p.ToA, localB, &r); err != nil {
		t.Fatal(err)
	}
	if a, err = p.A.OpenResponse(h, p.ToB, r[:]); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Keypairs are the two ends of a session between two fresh identities.
// a is the initiator's; indices come from seed as everything does.
func Keypairs(t testing.TB, seed uint64) (a, b *noise.Keypair) {
	t.Helper()
	rand := Rand(seed)
	var index [8]byte
	if _, err := io.ReadFull(rand, index[:]); err != nil {
		t.Fatal(err)
	}
	localA, localB := binary.LittleEndian.Uint32(index[:]), binary.LittleEndian.Uint32(index[4:])
	return NewPair(t, rand).Handshake(t, rand, localA, localB, time.Unix(1_700_000_000, 0))
}
