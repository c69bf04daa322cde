package device

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise/noisetest"
)

// A daemon that crashes prints the stacks of its goroutines, with the arguments of every function: a number, or an array, byte by
// byte. No key is among them, as none is passed by value (internal/arch looks, too). The crashes are made in a process each.

// crashVar tells a process of the test where to crash.
const crashVar = "CULVERT_TEST_CRASH"

// crashes are places in a handshake, and one that shows a key.
var crashes = map[string]func(*testing.T){
	"building an initiation": func(t *testing.T) { crashing(t, 1, "") },
	"building a response":    func(t *testing.T) { crashing(t, 2, "") },
	"taking a session":       func(t *testing.T) { crashing(t, 0, "handshake complete") },
	"the control":            func(t *testing.T) { byValue(tracePSK()) },
}

// tracePSK is the preshared key of the hosts that crash.
func tracePSK() config.PresharedKey { return config.PresharedKey(noisetest.Key(noisetest.Rand(1234))) }

//go:noinline
func byValue(k config.PresharedKey) {
	if k[0] != 0 || k[1] != 0 {
		panic("the control")
	}
}

// crashing makes a session between two hosts, one of which panics when it reads randomness for an ephemeral key the
// given time, or logs that.
func crashing(t *testing.T, atRead int32, atWord string) {
	synctest.Test(t, func(t *testing.T) {
		r := &panicsAt{r: noisetest.Rand(99), key: atRead}
		l := newLAN(t)
		opts := Options{Clock: clock.Virtual(), Rand: r, Logger: slog.New(&panicsOn{slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}), atWord})}
		p := &pair{lan: l, a: newHost(t, l, 1, opts), b: newHost(t, l, 2, opts)}
		p.a.knows(p.b)
		p.b.knows(p.a)
		for _, h := range []*host{p.a, p.b} {
			u := &config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPresharedKey: true, PresharedKey: tracePSK()}}}
			if h == p.b {
				u.Peers[0].PublicKey = p.a.public
			}
			h.configure(u)
		}
		p.connect()
	})
}

// panicsAt panics when a key is read for the given time.
type panicsAt struct {
	r   io.Reader
	key int32
	n   atomic.Int32
}

func (p *panicsAt) Read(b []byte) (int, error) {
	if len(b) == config.KeySize && p.n.Add(1) == p.key {
		panic("randomness")
	}
	return p.r.Read(b)
}

// panicsOn panics when something is logged.
type panicsOn struct {
	slog.Handler
	word string
}

func (p *panicsOn) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == p.word {
		panic("a logger")
	}
	return nil
}

func TestNoKeysInTraces(t *testing.T) {
	if where := os.Getenv(crashVar); where != "" {
		crashes[where](t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	psk := tracePSK()
	keys := map[string][32]byte{
		"preshared key": [32]byte(psk),
		"private key":   [32]byte(noisetest.Key(noisetest.Rand(1))), "the other private key": [32]byte(noisetest.Key(noisetest.Rand(2))),
		"ephemeral key": firstKey(noisetest.Rand(99)),
	}
	for where := range crashes {
		for _, level := range []string{"single", "all", "system", "crash"} {
			cmd := exec.Command(exe, "-test.run=^TestNoKeysInTraces$")
			cmd.Env = append(os.Environ(), crashVar+"="+where, "GOTRACEBACK="+level)
			cmd.Dir = t.TempDir() // for a core, where there are some
			out, err := cmd.CombinedOutput()
			trace := string(out)
			if err == nil || !strings.Contains(trace, "panic: ") || !strings.Contains(trace, "goroutine ") {
				t.Fatalf("%s: no crash: %v\n%s", where, err, trace)
			}
			found := ""
			for name, k := range keys {
				for _, form := range traceForms(k) {
					if strings.Contains(trace, form) {
						found = name + " as " + form
					}
				}
			}
			if (found != "") != (where == "the control") {
				t.Errorf("%s, GOTRACEBACK=%s: found %q\n%s", where, level, found, trace)
			}
		}
	}
}

// firstKey is the first ephemeral key that is made of r, after an index.
func firstKey(r io.Reader) [32]byte {
	var b [4 + 32]byte
	io.ReadFull(r, b[:])
	k := config.PrivateKey(b[4:])
	k.Clamp()
	return k
}

// traceForms are the ways in which part of a key may be in a trace.
func traceForms(k [32]byte) (forms []string) {
	for i := 0; i < len(k); i += 8 {
		forms = append(forms,
			fmt.Sprintf("%#x", binary.LittleEndian.Uint64(k[i:])), fmt.Sprintf("%#x", binary.BigEndian.Uint64(k[i:])),
			fmt.Sprintf("%#x, %#x, %#x", k[i], k[i+1], k[i+2]), fmt.Sprintf("%016x", binary.LittleEndian.Uint64(k[i:])),
			hex.EncodeToString(k[i:i+8]))
	}
	return append(forms, base64.StdEncoding.EncodeToString(k[:])[:12], string(k[:8]))
}
