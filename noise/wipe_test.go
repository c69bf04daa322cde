package noise

import (
	"errors"
	"reflect"
	"testing"
	"testing/iotest"

	"culvert/device/config"
)

// empty fails the test unless nothing is left in what x points to.
func empty(t *testing.T, what string, x any) {
	t.Helper()
	if !reflect.ValueOf(x).Elem().IsZero() {
		t.Errorf("%s: something is left: %+v", what, x)
	}
}

// Every end of a handshake, good or bad, leaves nothing in what computed it.
func TestNothingIsLeft(t *testing.T) {
	broken := iotest.ErrReader(errors.New("no entropy"))
	lowE := func(w *world) *[InitiationSize]byte { m := w.initiation; clear(m[8:40]); return &m }
	var d DHs

	for name, c := range map[string]struct {
		msg    func(w *world) *[InitiationSize]byte
		remote func(w *world) *Remote // nil: the end is before
		want   error
	}{
		"opened":           {func(w *world) *[InitiationSize]byte { return &w.initiation }, func(w *world) *Remote { return w.toA }, nil},
		"low e":            {lowE, nil, ErrLowOrder},
		"static forged":    {func(w *world) *[InitiationSize]byte { m := w.initiation; m[40]++; return &m }, nil, ErrStaticAuth},
		"low static":       {func(w *world) *[InitiationSize]byte { return &w.initiation }, func(*world) *Remote { return &Remote{} }, ErrLowOrder},
		"timestamp forged": {func(w *world) *[InitiationSize]byte { m := w.initiation; m[90]++; return &m }, func(w *world) *Remote { return w.toA }, ErrTimestampAuth},
	} {
		w := newWorld(t, 21, config.PresharedKey{5})
		w.initiate(t)
		var o InitiationOpener
		if err := o.Begin(w.b, c.msg(w)[:], &d); err != nil {
			t.Fatal(err)
		}
		d.Compute()
		_, err := o.Static()
		if c.remote != nil {
			if err != nil || isZero(&o.chain) || !isZero(&o.es) {
				t.Fatalf("initiation, %s: %v, or its secrets are not where they should be", name, err)
			}
			_, err = o.Finish(c.remote(w))
		}
		if err != c.want {
			t.Errorf("initiation, %s: %v", name, err)
		}
		empty(t, "initiation, "+name, &o)
	}
	for name, forge := range map[string]func(m []byte){
		"opened": func([]byte) {}, "low e": func(m []byte) { clear(m[12:44]) }, "forged": func(m []byte) { m[44]++ },
	} {
		w := newWorld(t, 22, config.PresharedKey{5})
		w.initiate(t)
		w.respond(t)
		forge(w.response[:])
		var o ResponseOpener
		if err := o.Begin(w.a, w.state, w.toB, w.response[:], &d); err != nil {
			t.Fatal(err)
		}
		if isZero(&o.chain) {
			t.Fatal("no secrets: the test tests nothing")
		}
		d.Compute()
		if _, err := o.Finish(); (err == nil) != (name == "opened") {
			t.Errorf("response, %s: %v", name, err)
		}
		empty(t, "response, "+name, &o)
	}
	for name, r := range map[string]*Remote{"built": nil, "low": {}} {
		w := newWorld(t, 23, config.PresharedKey{5})
		if r == nil {
			r = w.toB
		}
		var b InitiationBuilder
		if err := b.Begin(w.rand, w.a, r, indexA, stamp, &d); err != nil {
			t.Fatal(err)
		}
		d.Compute()
		h := b.h
		if h.ephemeral.wiped() {
			t.Fatal("no secrets: the test tests nothing")
		}
		_, err := b.Finish(&w.initiation)
		if (err == nil) != (name == "built") || h.ephemeral.wiped() != (err != nil) || isZero(&h.chain) != (err != nil) {
			t.Errorf("initiation, %s: %v; wiped: %v", name, err, h.ephemeral.wiped())
		}
		empty(t, "building an initiation, "+name, &b)
	}
	for name, r := range map[string]*Remote{"built": nil, "low": {}, "no randomness": nil} {
		w := newWorld(t, 24, config.PresharedKey{5})
		w.initiate(t)
		in, err := w.b.OpenInitiation(w.initiation[:], w.find)
		if err != nil || isZero(&in.chain) {
			t.Fatal(err)
		}
		if r == nil {
			r = w.toA
		}
		if name == "no randomness" {
			w.rand = broken
		}
		var b ResponseBuilder
		err = b.Begin(w.rand, &in, r, indexB, &d)
		empty(t, "an initiation that is answered, "+name, &in.symmetric)
		if err == nil {
			d.Compute()
			_, err = b.Finish(&w.response)
		}
		if (err == nil) != (name == "built") {
			t.Errorf("response, %s: %v", name, err)
		}
		empty(t, "building a response, "+name, &b)
	}
	if len(d.list) != 0 || cap(d.list) == 0 || !reflect.ValueOf(d.list[:cap(d.list)][0]).IsZero() {
		t.Error("addresses of keys are left among the DHs")
	}
}

// A peer that is not known ends the opening.
func TestUnknownPeerLeavesNothing(t *testing.T) {
	w := newWorld(t, 25, config.PresharedKey{})
	w.initiate(t)
	in, err := w.b.OpenInitiation(w.initiation[:], func(config.PublicKey) *Remote { return nil })
	if err != ErrUnknownPeer {
		t.Errorf("%v", err)
	}
	empty(t, "unknown", &in)
}

// Retired, a private key, what is known of a peer and the secret of cookies are gone; what is public stays.
func TestRetiredSecretsAreWiped(t *testing.T) {
	w := newWorld(t, 26, config.PresharedKey{5})
	w.initiate(t)
	var k config.PrivateKey
	if w.b.PrivateKey(&k); k.IsZero() || k != w.b.static.private {
		t.Error("PrivateKey is another one")
	}
	public := w.b.PublicKey()
	w.b.Wipe()
	w.b.PrivateKey(&k)
	if !k.IsZero() || w.b.PublicKey() != public || !w.b.CheckMAC1(new(Hasher), w.initiation[:]) {
		t.Error("the private key is left, or the public one, or the key of mac1, is lost")
	}
	w.toB.Wipe()
	if !w.toB.PSK.IsZero() || !w.toB.lowOrder() || w.toB.Static != public {
		t.Error("secrets of a peer are left, or its public key is lost")
	}

	c := NewCookieChecker(public)
	var reply [CookieReplySize]byte
	if err := c.CreateReply(1, w.rand, w.initiation[:], home, &reply); err != nil {
		t.Fatal(err)
	}
	if c.secret == (keyed{}) {
		t.Fatal("no secret: the test tests nothing")
	}
	c.CheckMAC2(1, w.rand, withMAC2(w.initiation), home)
	c.Wipe()
	if state := stateOf(c.hasher.digest); c.secret != (keyed{}) || c.hasher.once != (keyed{}) || c.hasher.sum != [32]byte{} || state != unkeyed {
		t.Error("something of the secret of cookies is left")
	}
}

// withMAC2 is msg with something in mac2.
func withMAC2(msg [InitiationSize]byte) []byte {
	msg[InitiationSize-1] = 1
	return msg[:]
}
