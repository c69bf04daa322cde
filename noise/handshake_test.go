package noise

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"culvert/device/config"
	"culvert/internal/aead"
)

// world is an initiator A and a responder B in the middle of a handshake.
type world struct {
	a, b     *Identity
	toA, toB *Remote // A as B sees it, B as A sees it
	rand     io.Reader

	initiation [InitiationSize]byte
	response   [ResponseSize]byte
	state      *Handshake
	opened     OpenedInitiation
	keysA      *Keypair
	keysB      *Keypair
}

const (
	indexA = 0xa1a2a3a4
	indexB = 0xb1b2b3b4
)

var stamp = NewTimestamp(time.Unix(1_700_000_000, 123_456_789))

func newWorld(t testing.TB, seed byte, psk config.PresharedKey) *world {
	t.Helper()
	w := &world{a: testIdentity(t, 2*seed), b: testIdentity(t, 2*seed+1), rand: rand.NewChaCha8([32]byte{seed})}
	w.toA, w.toB = knows(t, w.b, w.a, psk), knows(t, w.a, w.b, psk)
	return w
}

func knows(t testing.TB, own, other *Identity, psk config.PresharedKey) *Remote {
	t.Helper()
	shared, err := own.StaticShared(other.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return &Remote{Static: other.PublicKey(), PSK: psk, Shared: shared}
}

// find is what B knows.
func (w *world) find(k config.PublicKey) *Remote {
	if k == w.toA.Static {
		return w.toA
	}
	return nil
}

func (w *world) initiate(t testing.TB) {
	t.Helper()
	var err error
	if w.state, err = CreateInitiation(w.rand, w.a, w.toB, indexA, stamp, &w.initiation); err != nil {
		t.Fatal(err)
	}
	new(CookieJar).Seal(1, w.toB.Static, w.initiation[:])
}

func (w *world) respond(t testing.TB) {
	t.Helper()
	var err error
	if w.opened, err = w.b.OpenInitiation(w.initiation[:], w.find); err != nil {
		t.Fatal(err)
	}
	in := w.opened
	if w.keysB, err = CreateResponse(w.rand, &in, w.toA, indexB, &w.response); err != nil {
		t.Fatal(err)
	}
	new(CookieJar).Seal(1, w.toA.Static, w.response[:])
}

func (w *world) finish(t testing.TB) {
	t.Helper()
	var err error
	if w.keysA, err = w.a.OpenResponse(w.state, w.toB, w.response[:]); err != nil {
		t.Fatal(err)
	}
}

func TestHandshake(t *testing.T) {
	for _, psk := range []config.PresharedKey{{}, {1, 2, 3}} {
		w := newWorld(t, 1, psk)
		w.initiate(t)
		w.respond(t)
		w.finish(t)
		if w.opened.Static != w.a.PublicKey() || w.opened.Timestamp != stamp || w.opened.RemoteIndex != indexA {
			t.Errorf("opened %x, %x, %#x", w.opened.Static, w.opened.Timestamp, w.opened.RemoteIndex)
		}
		if k := w.keysA; !k.Initiator || k.LocalIndex != indexA || k.RemoteIndex != indexB {
			t.Errorf("initiator's keys: %v, %#x, %#x", k.Initiator, k.LocalIndex, k.RemoteIndex)
		}
		if k := w.keysB; k.Initiator || k.LocalIndex != indexB || k.RemoteIndex != indexA {
			t.Errorf("responder's keys: %v, %#x, %#x", k.Initiator, k.LocalIndex, k.RemoteIndex)
		}
		understands(t, w.keysA.Send, w.keysB.Recv, true)
		understands(t, w.keysB.Send, w.keysA.Recv, true)
		understands(t, w.keysA.Send, w.keysA.Recv, false) // nobody takes his own packets
	}
}

func understands(t *testing.T, from, to *aead.Key, want bool) {
	t.Helper()
	buf := append([]byte("hello"), make([]byte, TagSize)...)
	from.Seal(buf, 3)
	if got := to.Open(buf, 3); got != want {
		t.Errorf("opens: %v, want %v", got, want)
	}
}

// Whoever flips a bit of a message gets the error of the field, and
// the true message still goes through afterwards.
func TestInitiationTampering(t *testing.T) {
	w := newWorld(t, 2, config.PresharedKey{})
	w.initiate(t)
	for i := range InitiationSize {
		bad := w.initiation
		bad[i] ^= 1 << (i % 8)
		mac1Good := i >= 132
		if got := w.b.CheckMAC1(new(Hasher), bad[:]); got != mac1Good {
			t.Errorf("byte %d: mac1 is good: %v", i, got)
		}
		var want error
		switch {
		case i < 4:
			want = ErrMalformed
		case i < 8: // the sender's index, which only mac1 covers
		case i < 88: // e and s; a key flipped in its ignored top bit changes the hash
			want = ErrStaticAuth
		case i < 116:
			want = ErrTimestampAuth
		}
		in, err := w.b.OpenInitiation(bad[:], w.find)
		if err != want {
			t.Errorf("byte %d: %v, want %v", i, err, want)
		}
		if err != nil && in != (OpenedInitiation{}) {
			t.Errorf("byte %d: an error came with secrets", i)
		}
	}
	w.respond(t)
}

func TestResponseTampering(t *testing.T) {
	w := newWorld(t, 3, config.PresharedKey{7})
	w.initiate(t)
	w.respond(t)
	before := *w.state
	for i := range ResponseSize {
		bad := w.response
		bad[i] ^= 1 << (i % 8)
		if got, want := w.a.CheckMAC1(new(Hasher), bad[:]), i >= 76; got != want {
			t.Errorf("byte %d: mac1 is good: %v", i, got)
		}
		var want error
		switch {
		case i < 4:
			want = ErrMalformed
		case i < 8: // the sender's index, which only mac1 covers
		case i < 12:
			want = ErrWrongReceiver
		case i < 60:
			want = ErrResponseAuth
		}
		k, err := w.a.OpenResponse(w.state, w.toB, bad[:])
		if err != want || (k == nil) != (err != nil) {
			t.Errorf("byte %d: %v, %v, want %v", i, k, err, want)
		}
	}
	if *w.state != before {
		t.Error("OpenResponse changed the handshake")
	}
	w.finish(t)
	understands(t, w.keysA.Send, w.keysB.Recv, true)
}

func TestOpenInitiationErrors(t *testing.T) {
	w := newWorld(t, 4, config.PresharedKey{})
	w.initiate(t)
	stranger := testIdentity(t, 99)
	lowOrderPeer := func(config.PublicKey) *Remote { return &Remote{Static: w.toA.Static} }
	wrongShared := func(config.PublicKey) *Remote { return &Remote{Static: w.toA.Static, Shared: [32]byte{1}} }
	nobody := func(config.PublicKey) *Remote { return nil }
	for name, c := range map[string]struct {
		id   *Identity
		msg  []byte
		find func(config.PublicKey) *Remote
		want error
	}{
		"short":          {w.b, w.initiation[:147], w.find, ErrMalformed},
		"empty":          {w.b, nil, w.find, ErrMalformed},
		"a response":     {w.b, message(92, 2), w.find, ErrMalformed},
		"not to us":      {stranger, w.initiation[:], w.find, ErrStaticAuth},
		"unknown":        {w.b, w.initiation[:], nobody, ErrUnknownPeer},
		"low order peer": {w.b, w.initiation[:], lowOrderPeer, ErrLowOrder},
		"imposter":       {w.b, w.initiation[:], wrongShared, ErrTimestampAuth},
	} {
		in, err := c.id.OpenInitiation(c.msg, c.find)
		if err != c.want || in != (OpenedInitiation{}) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for _, p := range lowOrderPoints {
		bad := w.initiation
		copy(bad[8:40], unhex(t, p))
		_, err := w.b.OpenInitiation(bad[:], func(config.PublicKey) *Remote { t.Error("asked for a peer"); return nil })
		if err != ErrLowOrder {
			t.Errorf("ephemeral %s: %v", p, err)
		}
	}
}

func TestOpenResponseErrors(t *testing.T) {
	w := newWorld(t, 5, config.PresharedKey{})
	w.initiate(t)
	w.respond(t)
	otherPSK := *w.toB
	otherPSK.PSK[31] = 1
	old := *w.state
	w.initiate(t) // the response now answers the initiation before
	wiped := old
	wiped.Wipe()
	if wiped.hash != [32]byte{} || wiped.chain != [32]byte{} || wiped.ephemeral != (keyPair{}) {
		t.Error("Wipe left something")
	}
	for name, c := range map[string]struct {
		id   *Identity
		h    *Handshake
		r    *Remote
		msg  []byte
		want error
	}{
		"short":           {w.a, &old, w.toB, w.response[:91], ErrMalformed},
		"initiation":      {w.a, &old, w.toB, w.initiation[:], ErrMalformed},
		"other handshake": {w.a, w.state, w.toB, w.response[:], ErrResponseAuth},
		"other psk":       {w.a, &old, &otherPSK, w.response[:], ErrResponseAuth},
		"other identity":  {w.b, &old, w.toB, w.response[:], ErrResponseAuth},
		"wiped":           {w.a, &wiped, w.toB, w.response[:], ErrWrongReceiver},
		"fine":            {w.a, &old, w.toB, w.response[:], nil},
	} {
		if _, err := c.id.OpenResponse(c.h, c.r, c.msg); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for _, p := range lowOrderPoints {
		bad := w.response
		copy(bad[12:44], unhex(t, p))
		if _, err := w.a.OpenResponse(&old, w.toB, bad[:]); err != ErrLowOrder {
			t.Errorf("ephemeral %s: %v", p, err)
		}
	}
}

func TestCreateErrors(t *testing.T) {
	w := newWorld(t, 6, config.PresharedKey{})
	w.initiate(t)
	broken := errors.New("no entropy")
	low := &Remote{Static: config.PublicKey{1}}
	unshared := &Remote{Static: w.b.PublicKey()} // a good key, but Shared says low order
	short := bytes.NewReader(make([]byte, 31))

	for name, c := range map[string]struct {
		rand io.Reader
		r    *Remote
		want error
	}{
		"low order peer":    {w.rand, low, ErrLowOrder},
		"nothing shared":    {w.rand, unshared, ErrLowOrder},
		"broken randomness": {iotest.ErrReader(broken), nil, broken},
		"short randomness":  {short, nil, io.ErrUnexpectedEOF},
	} {
		r := c.r
		if r == nil {
			r = w.toB
		}
		var msg [InitiationSize]byte
		h, err := CreateInitiation(c.rand, w.a, r, indexA, stamp, &msg)
		if h != nil || !errors.Is(err, c.want) || msg != [InitiationSize]byte{} {
			t.Errorf("initiation, %s: %v, %v", name, h, err)
		}

		short.Reset(make([]byte, 31))
		if r = c.r; r == nil {
			r = w.toA
		}
		in, err := w.b.OpenInitiation(w.initiation[:], w.find)
		if err != nil {
			t.Fatal(err)
		}
		var response [ResponseSize]byte
		k, err := CreateResponse(c.rand, &in, r, indexB, &response)
		if k != nil || !errors.Is(err, c.want) || response != [ResponseSize]byte{} {
			t.Errorf("response, %s: %v, %v", name, k, err)
		}
		if in.symmetric != (symmetric{}) {
			t.Errorf("response, %s: secrets were not wiped", name)
		}
		short.Reset(make([]byte, 31))
	}
}

func TestKeypairWipe(t *testing.T) {
	w := newWorld(t, 7, config.PresharedKey{})
	w.initiate(t)
	w.respond(t)
	w.finish(t)
	w.keysB.Wipe()
	w.keysB.Wipe()
	understands(t, w.keysA.Send, w.keysB.Recv, false)
	empty(t, "the key that receives", w.keysB.Recv)
	empty(t, "the key that sends", w.keysB.Send)
	in := w.opened
	in.Wipe()
	if in.symmetric != (symmetric{}) || in.Static != w.opened.Static {
		t.Error("Wipe of an opened initiation")
	}
}
