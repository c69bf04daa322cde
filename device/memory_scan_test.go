//go:build linux

package device

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/internal/aead"
	"culvert/internal/memscan"
	"culvert/internal/scrub"
	"culvert/timers"
)

// The memory of a process is searched for keys that were retired. That they are not found is to be
// believed because they are found before.

// alone runs f in every mode, in a process of its own that the runtime does not interrupt with signals: what is in vector registers at just that
// moment is written to memory that nobody reaches (package scrub).
func alone(t *testing.T, f func(t *testing.T, opts Options)) {
	t.Helper()
	const env = "GODEBUG=asyncpreemptoff=1"
	if strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		inBubble(t, func(t *testing.T, opts Options) { scrub.Run(func() { f(t, opts) }) })
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/parallel") {
		t.Errorf("%v: %s", err, out)
	}
}

// needles makes them of secrets of h where those are wiped, in its controller: a test that reads them itself, and then
// lets time pass, reads beside a controller that wipes them, since time orders nothing.
func (h *host) needles(of func() []memscan.Needle) (keys []memscan.Needle) {
	h.d.do(func() {
		keys, h.d.controller.secret = of(), true
	})
	return keys
}

// sessionKeys are the needles of both keys of the session with to.
func (h *host) sessionKeys(to *host) []memscan.Needle {
	key := func(name string, k *aead.Key) []memscan.Needle { return memscan.Key(name, memscan.Inside(k, "secret")) }
	return h.needles(func() []memscan.Needle {
		k := h.peer(to).sendKey.Load()
		return append(key("key that sends", k.keys.Send), key("key that receives", k.keys.Recv)...)
	})
}

// handshakeSecrets are those of the handshake with to that is under way.
func (h *host) handshakeSecrets(to *host) []memscan.Needle {
	return h.needles(func() []memscan.Needle {
		x := h.peer(to).secrets.waiting.state
		return append(memscan.Key("ephemeral key", memscan.Inside(x, "ephemeral.private")), memscan.Key("chaining key", memscan.Inside(x, "symmetric.chain"))...)
	})
}

// wantFound fails the test unless each is somewhere, in one of its forms.
func wantFound(t *testing.T, keys ...memscan.Needle) {
	t.Helper()
	found := map[string]bool{}
	for _, h := range search(t, keys) {
		found[h.Needle] = true
	}
	if len(found) < len(keys)/memscan.Forms {
		t.Fatalf("of %d keys in use only %v are found: the test tests nothing", len(keys)/memscan.Forms/2, found)
	}
}

// wantGone fails the test if one is anywhere.
func wantGone(t *testing.T, keys ...memscan.Needle) {
	t.Helper()
	for _, h := range search(t, keys) {
		t.Error("still there: ", h)
	}
}

func search(t *testing.T, keys []memscan.Needle) []memscan.Hit {
	t.Helper()
	scrub.Deep() // what made the needles
	hits, err := memscan.Scan(os.Getpid(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// secretPair is a pair with a preshared key, and another private key of a. Only their needles are left in the test.
func secretPair(t *testing.T, opts Options) (p *pair, private, preshared []memscan.Needle) {
	t.Helper()
	p = newPair(t, opts)
	u := &config.Update{HasPrivateKey: true, Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPresharedKey: true}}}
	defer func() { *u = config.Update{} }()
	s := &u.Peers[0]
	defer clear(u.Peers)
	rand.Read(s.PresharedKey[:])
	rand.Read(u.PrivateKey[:])
	u.PrivateKey.Clamp()
	private = memscan.Key("private key", (*[32]byte)(&u.PrivateKey))
	preshared = memscan.Key("preshared key", (*[32]byte)(&s.PresharedKey))
	p.a.configure(u)
	p.a.configure(u) // which changes nothing
	p.a.public = p.a.d.identity.Load().PublicKey()
	p.b.knows(p.a)
	s.PublicKey, u.HasPrivateKey = p.a.public, false
	p.b.configure(u)
	return p, private, preshared
}

// traffic are packets both ways: one by one, and as many as a batch has.
func (p *pair) traffic() {
	for _, n := range []int{1, 1, 40} {
		for i := range n {
			p.a.send(p.a.packet4(p.b, fmt.Sprint("there", i)))
			p.b.send(p.b.packet4(p.a, fmt.Sprint("back", i)))
		}
		synctest.Wait()
		p.a.received()
		p.b.received()
	}
	for _, h := range []*host{p.a, p.b} {
		h.d.Describe(func(*config.Interface) error { return nil }, func(*config.Peer) error { return nil })
	}
	p.lan.reset()
}

// Of a session nothing is left 540 s after its last handshake, nor of the handshake.
func TestNoSessionKeysInMemory(t *testing.T) {
	alone(t, func(t *testing.T, opts Options) {
		p, _, _ := secretPair(t, opts)
		p.lan.setFate(lossOf(fromHost(p.b)))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		handshake := p.a.handshakeSecrets(p.b)
		wantFound(t, handshake...)
		p.lan.setFate(nil)
		sleep(10 * time.Second)
		p.traffic()
		session := p.a.sessionKeys(p.b)
		wantFound(t, session...)
		wantGone(t, handshake...)
		sleep(timers.ZeroKeysAfter + time.Second)
		wantGone(t, session...)
	})
}

// A peer that is removed leaves nothing.
func TestNoKeysOfRemovedPeerInMemory(t *testing.T) {
	alone(t, func(t *testing.T, opts Options) {
		p, _, preshared := secretPair(t, opts)
		p.connect()
		p.traffic()
		keys := append(p.a.sessionKeys(p.b), preshared...)
		wantFound(t, keys...)
		for _, h := range []*host{p.a, p.b} {
			h.configure(&config.Update{ReplacePeers: true})
		}
		synctest.Wait()
		wantGone(t, keys...)
	})
}

// Nor does our private key, or what was computed with it, when it is taken away.
func TestNoReplacedPrivateKeyInMemory(t *testing.T) {
	alone(t, func(t *testing.T, opts Options) {
		p, private, _ := secretPair(t, opts)
		p.connect()
		p.traffic()
		keys := append(p.a.needles(func() []memscan.Needle {
			return memscan.Key("static-static secret", &p.a.peer(p.b).remote.Load().Shared)
		}), private...)
		wantFound(t, keys...)
		p.b.configure(&config.Update{ReplacePeers: true})  // which has the same static-static secret
		p.a.configure(&config.Update{HasPrivateKey: true}) // none: computing with another would overwrite the same places
		synctest.Wait()
		wantGone(t, keys...)
	})
}

// A private key that was never used leaves nothing where its public key was computed.
func TestNoUnusedPrivateKeyInMemory(t *testing.T) {
	alone(t, func(t *testing.T, opts Options) {
		p, private, _ := secretPair(t, opts)
		wantFound(t, private...)
		p.a.configure(&config.Update{HasPrivateKey: true})
		wantGone(t, private...)
	})
}
