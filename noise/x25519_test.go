package noise

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"culvert/device/config"
)

// RFC 7748, section 5.2: single values.
func TestStaticSharedVectors(t *testing.T) {
	for _, c := range []struct{ private, public, shared string }{
		{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	} {
		private := config.PrivateKey(unhex(t, c.private))
		id, err := NewIdentity(&private)
		if err != nil {
			t.Fatal(err)
		}
		shared, err := id.StaticShared(config.PublicKey(unhex(t, c.public)))
		if err != nil || hex.EncodeToString(shared[:]) != c.shared {
			t.Errorf("%x, %v", shared, err)
		}
	}
}

func TestKeyPair(t *testing.T) {
	var e keyPair
	var d DHs
	if err := e.generate(bytes.NewReader(make([]byte, 32)), &d); err != nil || e.wiped() {
		t.Errorf("a key of zeros looks wiped (%v)", err)
	}
	d.Compute()
	var same keyPair
	if same.set(&config.PrivateKey{}); e != same || e.public == ([keySize]byte{}) {
		t.Errorf("generated %x, set %x", e.public, same.public)
	}
	if e.wipe(); !e.wiped() || e != (keyPair{}) {
		t.Error("wipe left something")
	}
	half := iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(bytes.Repeat([]byte{5}, 32))))
	if err := e.generate(half, &d); !errors.Is(err, iotest.ErrTimeout) || e != (keyPair{}) || len(d.list) != 0 {
		t.Errorf("%v left %x and %d DHs", err, e.private, len(d.list))
	}
}

// Many handshakes side by side are what they are one by one; those that fail, fail alone,
// and nothing is left of any.
func TestSideBySide(t *testing.T) {
	const n = 21
	lowOrder := func(i int) bool { return i%5 == 3 }
	var worlds, single [n]*world
	for i := range n {
		psk := config.PresharedKey{byte(i)}
		worlds[i], single[i] = newWorld(t, byte(i+1), psk), newWorld(t, byte(i+1), psk)
		single[i].initiate(t)
		single[i].respond(t)
		single[i].finish(t)
	}
	var d DHs

	var building [n]InitiationBuilder
	fresh := make([]Remote, n) // of which Shared is computed in the same go
	for i, w := range worlds {
		fresh[i] = Remote{Static: w.toB.Static, PSK: w.toB.PSK}
		if lowOrder(i) {
			fresh[i].Static = config.PublicKey(unhex(t, lowOrderPoints[i%len(lowOrderPoints)]))
		}
		w.a.AddShared(&fresh[i], &d)
		if err := building[i].Begin(w.rand, w.a, &fresh[i], indexA, stamp, &d); err != nil {
			t.Fatal(err)
		}
	}
	d.Compute()
	for i, w := range worlds {
		h, err := building[i].Finish(&w.initiation)
		if building[i] != (InitiationBuilder{}) {
			t.Errorf("the building of initiation %d left something", i)
		}
		if lowOrder(i) {
			if err != ErrLowOrder || h != nil || w.initiation != [InitiationSize]byte{} {
				t.Errorf("initiation %d of low order: %v", i, err)
			}
			h, w.initiation = single[i].state, single[i].initiation
		}
		new(CookieJar).Seal(1, w.toB.Static, w.initiation[:])
		if w.state = h; w.initiation != single[i].initiation {
			t.Errorf("initiation %d: %x, want %x", i, w.initiation, single[i].initiation)
		}
	}

	var opening [n]InitiationOpener
	for i, w := range worlds {
		msg := w.initiation
		if lowOrder(i) {
			copy(msg[8:40], unhex(t, lowOrderPoints[i%len(lowOrderPoints)]))
		}
		if err := opening[i].Begin(w.b, msg[:], &d); err != nil {
			t.Fatal(err)
		}
	}
	d.Compute()
	for i, w := range worlds {
		w.opened = single[i].opened
		static, err := opening[i].Static()
		if lowOrder(i) {
			if err != ErrLowOrder {
				t.Errorf("initiation %d of low order: %v", i, err)
			}
		} else if err != nil || static != w.toA.Static {
			t.Errorf("initiation %d is of %x, %v", i, static, err)
		} else if w.opened, err = opening[i].Finish(w.toA); err != nil || w.opened != single[i].opened {
			t.Errorf("initiation %d: %v", i, err)
		}
		if opening[i] != (InitiationOpener{}) {
			t.Errorf("the opening of initiation %d left something", i)
		}
	}

	var answering [n]ResponseBuilder
	for i, w := range worlds {
		w.rand = rand.NewChaCha8([32]byte{byte(i), 1})
		if lowOrder(i) {
			w.opened.ephemeral = [keySize]byte{1}
		}
		if err := answering[i].Begin(w.rand, &w.opened, w.toA, indexB, &d); err != nil || w.opened.symmetric != (symmetric{}) {
			t.Fatal(err)
		}
	}
	d.Compute()
	for i, w := range worlds {
		keys, err := answering[i].Finish(&w.response)
		if answering[i] != (ResponseBuilder{}) {
			t.Errorf("the building of response %d left something", i)
		}
		if lowOrder(i) {
			if err != ErrLowOrder || keys != nil || w.response != [ResponseSize]byte{} {
				t.Errorf("response %d of low order: %v", i, err)
			}
			w.response, keys = single[i].response, single[i].keysB
		}
		w.keysB = keys
		new(CookieJar).Seal(1, w.toA.Static, w.response[:])
	}

	var ending [n]ResponseOpener
	for i, w := range worlds {
		msg := w.response
		if lowOrder(i) {
			copy(msg[12:44], unhex(t, lowOrderPoints[i%len(lowOrderPoints)]))
		}
		if err := ending[i].Begin(w.a, w.state, w.toB, msg[:], &d); err != nil {
			t.Fatal(err)
		}
	}
	d.Compute()
	for i, w := range worlds {
		keys, err := ending[i].Finish()
		if ending[i] != (ResponseOpener{}) {
			t.Errorf("the opening of response %d left something", i)
		}
		if lowOrder(i) {
			if err != ErrLowOrder || keys != nil {
				t.Errorf("response %d of low order: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		understands(t, keys.Send, w.keysB.Recv, true)
		understands(t, w.keysB.Send, keys.Recv, true)
	}
	if len(d.list) != 0 {
		t.Errorf("%d DHs are left", len(d.list))
	}
}
