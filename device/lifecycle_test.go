package device

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/tun/tuntest"
)

// Down: no sockets, no sessions, nothing staged, the port kept. Up: the same
// port, and all goes on with a new handshake.
func TestDownAndUp(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		key := p.a.peer(p.b).sendKey.Load()
		p.a.tun.Down()
		synctest.Wait()
		if p.a.net.open() != 0 {
			t.Error("sockets are open while the interface is down")
		}
		if p.a.d.index.len() != 0 || key.refs.Load() != 0 || p.a.peer(p.b).sendKey.Load() != nil {
			t.Error("a session is left while the interface is down")
		}
		sleep(time.Hour)
		for _, d := range p.lan.reset() {
			if d.from == p.a.outer {
				t.Fatal("something was sent while the interface is down")
			}
		}
		if s := p.a.status(p.b); s.Endpoint != p.b.outer || s.LastHandshake.IsZero() || s.RxBytes == 0 {
			t.Errorf("forgotten while down: %+v", s)
		}
		p.a.tun.Up()
		synctest.Wait()
		p.want("") // nothing waits
		x, y := p.a.packet4(p.b, "x"), p.b.packet4(p.a, "y")
		p.a.send(x)
		p.b.wantReceived(x)
		p.b.send(y)
		p.a.wantReceived(y)
		p.want("a>b initiation, b>a response, a>b data 64, b>a data 64")
		if p.a.net.open() != 1 {
			t.Error("not one socket after the interface came up")
		}
	})
}

// What is staged when the interface goes down is dropped; a persistent
// keepalive begins anew when it comes up.
func TestDownDropsStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		p.a.tun.Down()
		synctest.Wait()
		p.a.wantDrops(map[Reason]uint64{DropNoSession: 1})
		p.lan.setFate(nil)
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPersistentKeepalive: true, PersistentKeepalive: 10}}})
		p.lan.reset()
		sleep(time.Minute)
		p.want("")
		p.a.tun.Up()
		p.want("a>b initiation, b>a response, a>b keepalive")
	})
}

// An interface that comes up while its port is taken works as soon as it gets
// another.
func TestUpWithoutPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.tun.Down()
		synctest.Wait()
		p.a.net.fail(syscall.EADDRINUSE)
		p.a.tun.Up()
		synctest.Wait()
		port := &config.Update{HasListenPort: true, ListenPort: 51820}
		if err := p.a.d.Configure(port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("the port is in use, but Configure says %v", err)
		}
		p.a.net.fail(nil)
		p.a.configure(port) // the same port is tried again
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
	})
}

// A deleted interface is told to the owner.
func TestDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		select {
		case <-p.a.d.Done():
			t.Fatal("done too early")
		default:
		}
		p.a.tun.Delete()
		<-p.a.d.Done()
	})
}

// Close may be called again and again, from anywhere, and returns when all is
// done. After it Configure and Describe fail.
func TestCloseTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				p.a.d.Close()
				select {
				case <-p.a.d.ended:
				default:
					t.Error("Close returned before the controller ended")
				}
			})
		}
		callers.Wait()
		p.a.d.Close()
		if err := p.a.d.Configure(&config.Update{}); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("Configure after Close: %v", err)
		}
		err := p.a.d.Describe(func(*config.Interface) error { return nil }, func(*config.Peer) error { return nil })
		if !errors.Is(err, syscall.ENODEV) {
			t.Errorf("Describe after Close: %v", err)
		}
		select {
		case <-p.a.d.Done():
		default:
			t.Error("closed, but not done")
		}
	})
}

// A device can be closed in any state it may be in.
func TestCloseInEveryState(t *testing.T) {
	for name, f := range map[string]func(p *pair){
		"at once":           func(p *pair) {},
		"with a session":    (*pair).connect,
		"initiating":        func(p *pair) { p.a.tun.Send(p.a.packet4(p.b, "x")) },
		"being answered":    func(p *pair) { p.b.tun.Send(p.b.packet4(p.a, "x")) },
		"waiting":           func(p *pair) { p.lan.setFate(lossOf(everything)); p.a.send(p.a.packet4(p.b, "x")); synctest.Wait() },
		"going up":          func(p *pair) { p.a.tun.Down(); p.a.tun.Up() },
		"down":              func(p *pair) { p.a.tun.Down(); synctest.Wait() },
		"down, with events": func(p *pair) { p.a.tun.Down(); p.a.tun.Up(); p.a.tun.SetMTU(1300); p.a.tun.Down() },
		"deleted":           func(p *pair) { p.connect(); p.a.tun.Delete(); synctest.Wait() },
		"without sockets":   func(p *pair) { p.a.tun.Down(); synctest.Wait(); p.a.net.fail(syscall.EADDRINUSE); p.a.tun.Up() },
		"busy": func(p *pair) {
			p.connect()
			for i := range 1000 {
				p.a.tun.Send(p.a.packet4(p.b, fmt.Sprint(i)))
				p.b.tun.Send(p.b.packet4(p.a, fmt.Sprint(i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				f(p)
				p.a.close() // before anything is settled
				p.b.close()
			})
		})
	}
}

// Everything at once: traffic, up and down, peers that come, go, and change,
// other ports and keys, readers of the status; then Close in the middle of it.
func TestChaos(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	inBubble(t, func(t *testing.T, opts Options) {
		for round := range rounds {
			chaos(t, opts, uint64(round))
		}
	})
}

func chaos(t *testing.T, opts Options, seed uint64) {
	p := newPair(t, opts)
	p.lan.quiet = true
	c := newHost(t, p.lan, 3, opts)
	p.a.knows(c)
	c.knows(p.a)
	var all sync.WaitGroup
	stop := make(chan struct{})
	over := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	worker := func(n uint64, f func(r *rand.Rand)) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, n))
			for !over() {
				f(r)
				time.Sleep(time.Duration(r.IntN(int(40 * time.Millisecond))))
			}
		})
	}
	hosts := []*host{p.a, p.b, c}
	for i, h := range hosts {
		worker(uint64(i), func(r *rand.Rand) {
			for range r.IntN(30) {
				h.tun.Send(h.packet4(hosts[r.IntN(3)], "some traffic"))
			}
			h.tun.TryRecv()
		})
	}
	worker(10, func(r *rand.Rand) {
		if r.IntN(2) == 0 {
			p.a.tun.Down()
		} else {
			p.a.tun.Up()
		}
		p.a.tun.SetMTU(1280 + r.IntN(200))
		time.Sleep(time.Duration(r.IntN(int(time.Second))))
	})
	for n := range uint64(2) {
		worker(11+n, func(r *rand.Rand) { p.a.d.Configure(randomUpdate(r, p.b, c)) })
		worker(21+n, func(r *rand.Rand) {
			p.a.d.Describe(func(*config.Interface) error { return nil }, func(*config.Peer) error {
				if r.IntN(4) == 0 {
					time.Sleep(time.Millisecond) // a slow client
				}
				return nil
			})
		})
	}
	worker(31, func(r *rand.Rand) {
		p.a.net.BreakReceivers(syscall.EBADF)
		time.Sleep(time.Duration(r.IntN(int(2 * time.Second))))
	})
	time.Sleep(time.Duration(seed) * 400 * time.Millisecond)
	p.a.d.Close() // in the middle of it
	time.Sleep(time.Second)
	close(stop)
	all.Wait()
	for _, h := range hosts {
		h.close()
	}
}

// randomUpdate is a set of changes that a user might make to a.
func randomUpdate(r *rand.Rand, peers ...*host) *config.Update {
	u := &config.Update{ReplacePeers: r.IntN(8) == 0}
	if r.IntN(10) == 0 {
		u.HasListenPort, u.ListenPort = true, uint16(51820+r.IntN(2))
	}
	if r.IntN(10) == 0 {
		u.HasFirewallMark, u.FirewallMark = true, uint32(r.IntN(3))
	}
	if r.IntN(10) == 0 {
		u.HasPrivateKey, u.PrivateKey = true, config.PrivateKey{byte(r.IntN(3))}
	}
	for _, o := range peers {
		s := peerOf(o)
		s.Remove, s.ReplaceAllowedIPs = r.IntN(4) == 0, r.IntN(2) == 0
		if r.IntN(3) == 0 {
			s.HasPersistentKeepalive, s.PersistentKeepalive = true, uint16(r.IntN(3))
		}
		if r.IntN(3) == 0 {
			s.HasPresharedKey, s.PresharedKey = true, config.PresharedKey{byte(r.IntN(2))}
		}
		if r.IntN(3) == 0 {
			s.Endpoint = netip.AddrPortFrom(o.outer.Addr(), uint16(51820+r.IntN(2)))
		}
		u.Peers = append(u.Peers, s)
	}
	return u
}

// A network that fails does not keep New from working, nor a TUN that is gone.
func TestNewOnClosedTUN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tun := tuntest.NewUp(1420)
		tun.Close()
		d, err := New(tun, newLAN(t).host(netip.MustParseAddr("192.0.2.1")), Options{Clock: clock.Virtual()})
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
	})
}

// However long the network takes no more datagrams, Close returns; so does the
// change of port that gets things going again.
func TestCloseWhileSendsBlock(t *testing.T) {
	for name, f := range map[string]func(p *pair){
		"data":       func(p *pair) { p.connect(); p.a.net.stall.Store(true); p.a.send(p.a.packet4(p.b, "x")) },
		"initiation": func(p *pair) { p.a.net.stall.Store(true); p.a.send(p.a.packet4(p.b, "x")) },
		"response":   func(p *pair) { p.a.net.stall.Store(true); p.b.send(p.b.packet4(p.a, "x")) },
		"coming up": func(p *pair) {
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPersistentKeepalive: true, PersistentKeepalive: 1}}})
			p.a.tun.Down()
			synctest.Wait()
			p.a.net.stall.Store(true)
			p.a.tun.Up() // Close comes at any point of it
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				f(p)
				if name != "coming up" {
					synctest.Wait()
				}
				p.a.close()
			})
		})
	}
}

// While a cookie reply cannot be sent the device can still be configured.
func TestConfigureWhileSendsBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.net.stall.Store(true)
		p.a.underLoad()
		p.lan.inject(nowhere, p.a.outer, 0, newForger(t, p.b.key, p.a).initiation())
		synctest.Wait()
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: p.b.key})
		p.a.net.stall.Store(false)
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 51821})
	})
}
