package device

import (
	"errors"
	"reflect"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
)

// gone reports whether the secrets of r are wiped.
func (r *remote) gone() bool { return r.PSK.IsZero() && r.Shared == [32]byte{} }

// gone reports whether the private key of id is wiped.
func (id *identity) gone() bool {
	var k config.PrivateKey
	id.PrivateKey(&k)
	return k.IsZero()
}

// preshared is the section that gives o a preshared key.
func preshared(o *host, k byte) *config.Update {
	return &config.Update{Peers: []config.PeerUpdate{{PublicKey: o.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{k}}}}
}

// Preshared key and static-static secret go with the peer, or with what replaces them, once nobody
// uses them.
func TestSecretsOfPeersAreWiped(t *testing.T) {
	for name, retire := range map[string]func(p *pair){
		"removed": func(p *pair) {
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Remove: true}}})
		},
		"replaced":     func(p *pair) { p.a.configure(&config.Update{ReplacePeers: true}) },
		"another":      func(p *pair) { p.a.configure(preshared(p.b, 2)) },
		"none":         func(p *pair) { p.a.configure(preshared(p.b, 0)) },
		"other peer's": func(p *pair) { p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: p.b.key}) },
		"other private": func(p *pair) {
			p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
			p.b.send(p.b.packet4(p.a, "x"))
			p.a.send(p.a.packet4(p.b, "x"))
		},
		"closed": func(p *pair) { p.a.d.Close() },
	} {
		for _, inUse := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", in use"}[inUse], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPair(t, Options{})
					p.a.configure(preshared(p.b, 1))
					p.b.configure(preshared(p.a, 1))
					p.connect()
					p.a.status(p.b) // which looks at the preshared key
					r := p.a.peer(p.b).holdRemote()
					if r == nil || r.gone() || r.refs.Load() != 2 {
						t.Fatal("nobody but the peer should hold its secrets now, and they should be there")
					}
					if !inUse {
						r.release()
					}
					retire(p)
					synctest.Wait()
					if r.gone() == inUse {
						t.Fatalf("wiped: %v", !inUse)
					}
					if inUse {
						if r.release(); !r.gone() {
							t.Error("not wiped by the last user")
						}
					}
				})
			})
		}
	}
}

// So does our private key.
func TestPrivateKeyIsWiped(t *testing.T) {
	for name, retire := range map[string]func(p *pair){
		"another": func(p *pair) {
			p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
		},
		"none":   func(p *pair) { p.a.configure(&config.Update{HasPrivateKey: true}) },
		"closed": func(p *pair) { p.a.d.Close() },
	} {
		for _, inUse := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", in use"}[inUse], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPair(t, Options{})
					p.connect()
					same := &config.Update{HasPrivateKey: true, PrivateKey: p.a.key}
					id := p.a.d.holdIdentity()
					if p.a.configure(same); p.a.d.identity.Load() != id || id.refs.Load() != 2 {
						t.Fatal("the same key changes something, or somebody but the device holds it")
					}
					if !inUse {
						id.release()
					}
					retire(p)
					synctest.Wait()
					if id.gone() == inUse {
						t.Fatalf("wiped: %v", !inUse)
					}
					if inUse {
						if id.release(); !id.gone() {
							t.Error("not wiped by the last user")
						}
					}
				})
			})
		}
	}
}

// A handshake of ours under way needs private key, preshared key and static-static secret till its
// response has come. It lets go of them with its own secrets.
func TestHandshakeHoldsWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.configure(preshared(p.b, 1))
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		to := p.a.peer(p.b)
		h, r, id := to.secrets.waiting, to.remote.Load(), p.a.d.identity.Load()
		if h.remote != r || h.id != id || r.refs.Load() != 2 || id.refs.Load() != 2 {
			t.Fatal("it does not hold them, or somebody else does")
		}
		if !h.acquire() { // as a worker does that has the response in hand
			t.Fatal("it is gone")
		}
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}, ReplacePeers: true})
		synctest.Wait()
		if h.wiped() || r.gone() || id.gone() {
			t.Error("wiped under the worker's feet")
		}
		h.release()
		if !h.wiped() || !r.gone() || !id.gone() {
			t.Error("not wiped by the last user")
		}
	})
}

// wiped reports whether the state of h is.
func (h *pending) wiped() bool {
	var msg [noise.ResponseSize]byte
	noise.PutTransportHeader(msg[:], 0, 0)
	copy(msg[:], []byte{2, 0, 0, 0})
	msg[8], msg[9], msg[10], msg[11] = byte(h.state.LocalIndex), byte(h.state.LocalIndex>>8), byte(h.state.LocalIndex>>16), byte(h.state.LocalIndex>>24)
	id, err := noise.NewIdentity(&config.PrivateKey{1})
	if err != nil {
		return false
	}
	_, err = id.OpenResponse(h.state, &noise.Remote{}, msg[:])
	return err == noise.ErrWrongReceiver
}

// What a worker computes for a peer that is removed meanwhile, or whose preshared key changes, is kept by nobody.
func TestPublishedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		to := p.a.peer(p.b)
		fresh := func() *remote {
			r := newRemote(to)
			r.Shared[0] = 1
			return r
		}
		r := fresh()
		p.a.configure(preshared(p.b, 1))
		current := to.remote.Load()
		to.publish(nil, r)
		if to.remote.Load() != current || r.gone() {
			t.Error("the preshared key is lost, or what the worker has in hand")
		}
		if r.release(); !r.gone() {
			t.Error("what was not published is left")
		}
		p.a.configure(&config.Update{ReplacePeers: true})
		if !current.gone() {
			t.Error("a removed peer keeps its secrets")
		}
		r = fresh()
		to.publish(nil, r)
		if to.remote.Load() != nil || r.gone() {
			t.Error("a removed peer has secrets again, or the worker lost what it has in hand")
		}
		if r.release(); !r.gone() {
			t.Error("what was published too late is left")
		}
	})
}

// Without randomness nothing is built. A DH that was begun for it ends up in memory that
// is wiped all the same.
func TestNoRandomnessLeavesNothing(t *testing.T) {
	for _, answers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, Options{Workers: -1})
			p.b.configure(&config.Update{HasPrivateKey: true, PrivateKey: p.b.key})
			d := &Device{rand: p.a.d.rand, clock: clock.Virtual(), events: make(chan event, 2), closing: make(chan struct{})}
			id := newIdentity(&p.a.key)
			d.identity.Store(id)
			w := &shaker{d: d}
			w.id = d.holdIdentity()
			job := hsJob{peer: &peer{public: p.b.public}}
			if answers {
				job.answer = &noise.OpenedInitiation{}
			}
			d.rand = &failsAfter{p.a.d.rand, 4} // enough for an index
			w.build(job)
			if ev := <-d.events; ev.keys != nil || ev.pending != nil {
				t.Fatal("something was built")
			}
			if w.n != 1 {
				t.Fatalf("%d in hand", w.n)
			}
			w.dhs.Compute()
			r := w.shakes[0].remote
			if r.gone() {
				t.Fatal("no DH was begun: the test tests nothing")
			}
			w.finish(&w.shakes[0])
			w.end()
			if job.peer.remote.Load() != r || r.refs.Load() != 1 || id.refs.Load() != 1 {
				t.Error("the worker still holds something, or nobody has what it computed")
			}
			if !reflect.ValueOf(w.shakes[0]).IsZero() {
				t.Error("something is left in the worker")
			}
		})
	}
}

// failsAfter gives n bytes.
type failsAfter struct {
	r interface{ Read([]byte) (int, error) }
	n int
}

func (f *failsAfter) Read(b []byte) (int, error) {
	if len(b) > f.n {
		return iotest.ErrReader(errors.New("no randomness")).Read(b)
	}
	f.n -= len(b)
	return f.r.Read(b)
}

// A static-static secret that a worker has computed with a private key that is replaced meanwhile is kept by nobody; the
// preshared key stays.
func TestSharedOfAnotherPrivateKey(t *testing.T) {
	for _, psk := range []byte{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, Options{})
			p.a.configure(preshared(p.b, psk))
			to, d := p.a.peer(p.b), p.a.d
			w := &shaker{d: d, id: d.holdIdentity()}
			s := &shake{peer: to, done: true}
			w.remoteOf(s)
			w.dhs.Compute()
			r := s.remote
			p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
			w.finish(s)
			w.shakes[0], w.n = *s, 1
			w.end()
			if !r.gone() {
				t.Errorf("it is left, held %d times", r.refs.Load())
			}
			var k config.PresharedKey
			if to.presharedKey(&k); k != (config.PresharedKey{psk}) {
				t.Error("the preshared key is lost")
			}
			before := to.remote.Load()
			p.a.send(p.a.packet4(p.b, "x")) // for which the secret is computed again
			synctest.Wait()
			if psk != 0 && (to.remote.Load() == before || !before.gone()) {
				t.Error("what it takes the place of is left")
			}
		})
	}
}

// The secret of cookies is wiped with the private key that it goes with, and by Close.
func TestCookieSecretIsWiped(t *testing.T) {
	for name, retire := range map[string]func(p *pair){
		"another private key": func(p *pair) {
			p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
		},
		"closed": func(p *pair) { p.a.d.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, Options{})
			p.a.underLoad()
			p.lan.inject(nowhere, p.a.outer, 0, newForger(t, p.b.key, p.a).initiation())
			synctest.Wait()
			secret := reflect.ValueOf(p.a.d.gate.cookies).Elem().FieldByName("secret")
			if secret.IsZero() {
				t.Fatal("no cookie was made: the test tests nothing")
			}
			if retire(p); !secret.IsZero() {
				t.Errorf("%s: it is left", name)
			}
		})
	}
}
