package device

import (
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/noise"
	"culvert/timers"
)

// What is in flight when its peer goes, its key is retired or the queue is full.

// staging is the outbound pipe of h with packet in hand, past its checks.
func (h *host) staging(packet []byte) *outbound {
	o := &outbound{d: h.d, now: h.d.clock.Now(), mtu: 1420}
	o.packet.SetBytes(packet)
	return o
}

// A packet that is being staged while its peer is removed, or the interface goes
// down, is dropped: nobody would look at it any more.
func TestStagedTooLate(t *testing.T) {
	for name, happen := range map[string]func(p *pair){
		"removed": func(p *pair) {
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Remove: true}}})
		},
		"down": func(p *pair) { p.a.tun.Down() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, Options{})
				x, to := p.a.packet4(p.b, "x"), p.a.peer(p.b)
				happen(p)
				synctest.Wait()
				p.a.staging(x).stage(to)
				synctest.Wait()
				p.a.wantDrops(map[Reason]uint64{DropNoSession: 1})
				if p.a.d.stageBudget.used.Load() != 0 {
					t.Error("it is still there")
				}
			})
		})
	}
}

// opens reports whether k still has the key that sealed m.
func opens(k *noise.Keypair, m []byte) bool {
	b := append([]byte(nil), m[noise.TransportHeaderSize:]...)
	return k.Recv.Open(b, noise.Counter(m))
}

// A retired key is wiped when the last batch that uses it is done, not earlier
// and not later.
func TestKeysAreWiped(t *testing.T) {
	for name, retire := range map[string]func(p *pair){
		"down":    func(p *pair) { p.a.tun.Down() },
		"removed": func(p *pair) { p.a.configure(&config.Update{ReplacePeers: true}) },
		"old":     func(p *pair) { time.Sleep(timers.ZeroKeysAfter + time.Second) },
		"closed":  func(p *pair) { p.a.d.Close() },
	} {
		for _, inFlight := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", in flight"}[inFlight], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPair(t, Options{})
					p.connect()
					k := p.a.peer(p.b).sendKey.Load()
					m := p.b.sealed(p.a, p.b.packet4(p.a, "secret"))
					var out *outBatch
					in := &inBatch{}
					if inFlight {
						out = p.a.d.newBatch(k.peer, k, p.a.d.clock.Now())
						if in.group(k, p.a.d.clock.Now()) == nil {
							t.Fatal("no group")
						}
					}
					retire(p)
					synctest.Wait()
					if got := opens(k.keys, m); got != inFlight {
						t.Fatalf("after the key was retired it opens a message: %v", got)
					}
					if k.acquire() != inFlight {
						t.Error("a key that is gone can be had, or one in use cannot")
					} else if inFlight {
						k.release()
					}
					if !inFlight {
						return
					}
					p.a.d.recycle(out)
					p.a.d.outPool.trim() // what Close did, when there was nothing of this device any more but our batch
					if !opens(k.keys, m) {
						t.Fatal("it was wiped under a group's feet")
					}
					k.release() // the group
					if opens(k.keys, m) {
						t.Fatal("the last user is done, and the key opens a message")
					}
				})
			})
		}
	}
}

// Rekeying wipes what falls out of the slots.
func TestOldKeysAreWipedByRekeying(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		var keys []*keypair
		for range 5 {
			for _, h := range []*peer{p.a.peer(p.b), p.b.peer(p.a)} {
				if k := h.sendKey.Load(); k.refs.Load() != 1 {
					t.Fatalf("an idle key is held %d times", k.refs.Load())
				} else {
					keys = append(keys, k)
				}
			}
			p.a.send(p.a.packet4(p.b, "x"))
			p.b.send(p.b.packet4(p.a, "x"))
			sleep(timers.RekeyAfterTime + timers.MaxRekeyJitter)
			p.a.send(p.a.packet4(p.b, "x"))
			sleep(time.Second)
		}
		for i, k := range keys {
			if gone := k.refs.Load() == 0; gone != (i < len(keys)-2) {
				t.Errorf("key %d of %d is gone: %v", i, len(keys), gone)
			}
		}
		if n := p.a.d.index.len(); n != 2 {
			t.Errorf("%d indices for two keys", n)
		}
	})
}

// A request for new keys that found the controller's queue full is made again
// with the next packet, though each key asks once only.
func TestRenewalIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		sleep(timers.RekeyAfterTime + timers.MaxRekeyJitter)
		p.lan.reset()
		hold := make(chan struct{})
		go p.a.d.do(func() { <-hold }) // the controller is busy
		synctest.Wait()
		for p.a.d.post(event{kind: evConfirmed, peer: p.a.peer(p.b)}) {
		}
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		close(hold)
		p.want("a>b data 64")
		p.a.send(p.a.packet4(p.b, "x"))
		p.wantBeside("a>b data 64", "a>b initiation, b>a response, a>b keepalive")
	})
}

// late is sockets whose Send returns only when it is let go.
type late struct {
	conn.Sockets
	hold chan struct{}
}

func (s *late) Send(runs []conn.Run) {
	s.Sockets.Send(runs)
	<-s.hold
}

// The first data may be there before the send of our response returns. It is
// acknowledged like any other.
func TestDataBeforeResponseIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		s := &late{*p.b.d.sockets.Load(), make(chan struct{})}
		var replaced conn.Sockets = s
		p.b.d.sockets.Store(&replaced)
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		close(s.hold)
		p.want("a>b initiation, b>a response, a>b data 64")
		sleep(timers.KeepaliveTimeout + grain)
		p.want("b>a keepalive")
	})
}

// An initiation that was opened with a private key we no longer have is accepted no more: it moves nothing, and
// is not answered.
func TestInitiationForTheOldKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		sleep(time.Minute)
		f, before := newForger(t, p.b.key, p.a), p.a.status(p.b)
		block := make(chan struct{})
		go p.a.d.do(func() { // ends below
			<-block
			p.a.d.controller.setPrivateKey(&config.PrivateKey{5: 5})
		})
		synctest.Wait()
		p.lan.inject(nowhere, p.a.outer, 0, f.initiation())
		synctest.Wait()
		if n := len(p.a.d.events); n != 1 {
			t.Fatalf("%d events wait for the controller", n)
		}
		p.lan.reset()
		close(block)
		p.want("")
		p.a.wantDrops(map[Reason]uint64{DropStale: 1})
		if after := p.a.status(p.b); after.Endpoint != before.Endpoint || after.RxBytes != before.RxBytes {
			t.Errorf("%+v became %+v", before, after)
		}
	})
}
