//go:build linux

package device

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/internal/memscan"
	"culvert/noise"
	"culvert/noise/noisetest"
	"culvert/timers"
)

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// Of all that happens to a device, at the level that says most, nothing is logged that has a key in it, as text or as
// JSON; nor is one in an error or in what is told of the device.
func TestNoKeysInLogs(t *testing.T) {
	for name, newHandler := range map[string]func(*locked, *slog.HandlerOptions) slog.Handler{
		"text": func(w *locked, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
		"json": func(w *locked, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
	} {
		synctest.Test(t, func(t *testing.T) {
			log := &locked{}
			opts := Options{Clock: clock.Virtual(), Rand: noisetest.Rand(99), Logger: slog.New(newHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			p := newPair(t, opts)
			keys := map[string][32]byte{
				"private key": [32]byte(p.a.key), "the other private key": [32]byte(p.b.key),
				"preshared key": [32]byte(tracePSK()), "ephemeral key": firstKey(noisetest.Rand(99)),
			}
			psk := &config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPresharedKey: true, PresharedKey: tracePSK()}}}
			p.a.configure(psk)
			p.a.send(p.a.packet4(p.b, "b has another preshared key"))
			synctest.Wait()
			psk.Peers[0].PublicKey = p.a.public
			p.b.configure(psk)
			sleep(timers.RekeyTimeout + timers.MaxJitter)
			p.traffic()
			k := p.a.peer(p.b).sendKey.Load().keys
			keys["session key"] = *memscan.Inside(k.Send, "secret")
			keys["another session key"] = *memscan.Inside(k.Recv, "secret")
			keys["static-static secret"] = p.a.peer(p.b).remote.Load().Shared
			sleep(timers.RekeyAfterTime + timers.MaxRekeyJitter)
			p.traffic()
			p.lan.inject(p.b.outer, p.a.outer, 0, make([]byte, noise.InitiationSize))
			p.lan.inject(p.b.outer, p.a.outer, 0, newForger(t, p.b.key, p.a).initiation())
			if err := p.a.d.Configure(&config.Update{HasPrivateKey: true, PrivateKey: p.a.key, ReplacePeers: true, Peers: make([]config.PeerUpdate, MaxPeers+1)}); err == nil {
				t.Error("more peers than there may be")
			} else {
				log.Write([]byte(err.Error()))
			}
			opts.Logger.Info("status", "device", p.a.d.Stats())
			p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
			p.b.configure(&config.Update{ReplacePeers: true})
			sleep(time.Minute)
			p.a.tun.Down()
			p.a.close()
			p.b.close()
			text := log.b.String()
			for _, want := range []string{"handshake complete", "initiating", "interface down"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s: nothing of %q is logged: the test tests nothing", name, want)
				}
			}
			for name, k := range keys {
				for _, form := range traceForms(k) {
					if strings.Contains(text, form) {
						t.Errorf("the log has the %s, as %s", name, form)
					}
				}
			}
		})
	}
}
