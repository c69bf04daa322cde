package device

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
)

// openings are the times since start at which a opens sockets, or tries to, in
// whole seconds, while seconds go by.
func (h *host) openings(seconds int) (at []int) {
	synctest.Wait()
	for s, before := 0, h.net.opens.Load(); s < seconds; s++ {
		sleep(time.Second)
		if now := h.net.opens.Load(); now != before {
			at, before = append(at, s+1), now
		}
	}
	return at
}

// wantSockets fails the test unless the status says so: missing is part of the
// reason why there are none, empty if there are.
func (h *host) wantSockets(missing string, failures, reopened uint64) {
	h.t.Helper()
	s := h.d.Stats()
	if s.Up != (missing == "") || (s.SocketError == "") != s.Up || !strings.Contains(s.SocketError, missing) || s.SocketFailures != failures || s.Reopened != reopened {
		h.t.Errorf("%s: up %v, error %q, %d failures, %d times opened anew; want %q, %d, %d", h.name, s.Up, s.SocketError, s.SocketFailures, s.Reopened, missing, failures, reopened)
	}
}

// crosses fails the test unless a packet gets from a to b and one back.
func (p *pair) crosses() {
	p.a.t.Helper()
	x, y := p.a.packet4(p.b, "x"), p.b.packet4(p.a, "y")
	p.a.send(x)
	p.b.wantReceived(x)
	p.b.send(y)
	p.a.wantReceived(y)
}

// Whatever keeps sockets from being opened when the interface comes up, it is tried
// again after 1, 2, 4, 8, 16, 30, 30 s and so on, and when it works all goes on
// without anybody's help.
func TestSocketsMissingAtUp(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRINUSE, syscall.EAFNOSUPPORT, syscall.EACCES, syscall.EPERM, syscall.ENODEV} {
		t.Run(errno.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				p.a.tun.Down()
				synctest.Wait()
				p.a.wantUp(false)
				p.a.net.fail(errno)
				p.a.tun.Up()
				if got := p.a.openings(100); !slices.Equal(got, []int{1, 3, 7, 15, 31, 61, 91}) {
					t.Errorf("tried after %v s", got)
				}
				p.a.wantSockets(errno.Error(), 8, 0)
				p.a.send(p.a.packet4(p.b, "lost"))
				sleep(2 * time.Second)
				p.a.wantDrops(map[Reason]uint64{DropDown: 1})
				p.a.net.fail(nil)
				sleep(reopenLast)
				p.a.wantSockets("", 8, 1)
				p.crosses()
				if got := p.a.openings(100); got != nil {
					t.Errorf("tried again after %v s though all is well", got)
				}
			})
		})
	}
}

// wantUp fails the test unless there are sockets, or none and none wanted.
func (h *host) wantUp(up bool) {
	h.t.Helper()
	if s := h.d.Stats(); s.Up != up || s.SocketError != "" {
		h.t.Errorf("%s: up %v, error %q", h.name, s.Up, s.SocketError)
	}
}

// Sockets that break are replaced at once, by others on the same port, and sessions
// go on. Those that break again and again are replaced ever more rarely.
func TestSocketsBreak(t *testing.T) {
	for name, breaks := range map[string]func(p *pair){
		"receiving": func(p *pair) { p.a.net.BreakReceivers(syscall.EBADF) },
		"sending": func(p *pair) {
			p.lan.setFate(func(d *datagram) { d.err = syscall.EBADF })
			p.a.send(p.a.packet4(p.b, "lost"))
			synctest.Wait()
			p.lan.setFate(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				p.connect()
				sleep(2 * time.Minute)
				p.connect()
				sleep(reopenCalm / 2)
				p.lan.reset()
				breaks(p)
				synctest.Wait()
				p.a.wantSockets("", 1, 1)
				x, y := p.a.packet4(p.b, "x"), p.b.packet4(p.a, "y")
				p.a.send(x)
				p.b.wantReceived(x)
				p.b.send(y)
				p.a.wantReceived(y)
				p.want("a>b data 64, b>a data 64") // no handshake, no other port
				opens := p.a.net.opens.Load()
				for i, wait := range []int{1, 2, 4, 8, 16, 30, 30} {
					breaks(p)
					synctest.Wait()
					p.a.wantSockets("bad file descriptor", uint64(2+i), uint64(1+i))
					sleep(time.Duration(wait)*time.Second - 1)
					p.a.wantSockets("bad file descriptor", uint64(2+i), uint64(1+i))
					sleep(1)
					p.a.wantSockets("", uint64(2+i), uint64(2+i))
				}
				if n := p.a.net.opens.Load() - opens; n != 7 {
					t.Errorf("%d times opened, not 7", n)
				}
				p.crosses()
				sleep(reopenCalm)
				breaks(p) // long ago: at once again
				synctest.Wait()
				p.a.wantSockets("", 9, 9)
			})
		})
	}
}

// While sockets are missing a packet costs no system call and wakes nobody, a
// persistent keepalive waits, and goes when they are there.
func TestKeepaliveAfterReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPersistentKeepalive: true, PersistentKeepalive: 25}}})
		sleep(5 * time.Second)
		p.lan.reset()
		p.a.net.fail(syscall.EMFILE)
		p.a.net.BreakReceivers(syscall.ENOTSOCK)
		sleep(10 * time.Second)
		p.want("")
		p.a.net.fail(nil)
		sleep(20 * time.Second)
		p.want("a>b keepalive")
	})
}

// A port that a user sets meanwhile ends the tries, if it can be had; so does the
// interface that goes down, and Close.
func TestTriesEnd(t *testing.T) {
	for name, end := range map[string]func(p *pair){
		"another port": func(p *pair) {
			p.a.net.fail(nil)
			p.a.configure(&config.Update{HasListenPort: true, ListenPort: 51821})
			p.a.wantSockets("", 2, 0)
		},
		"down":  func(p *pair) { p.a.tun.Down(); synctest.Wait(); p.a.wantUp(false) },
		"close": func(p *pair) { p.a.close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, Options{})
				p.a.net.fail(syscall.EMFILE)
				p.a.net.BreakReceivers(syscall.EBADF)
				sleep(time.Second)
				end(p)
				synctest.Wait()
				if got := p.a.openings(200); got != nil {
					t.Errorf("tried after %v s", got)
				}
			})
		})
	}
}

// Without sockets a firewall mark is taken, and the next ones have it.
func TestMarkWhileMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.net.fail(syscall.EMFILE)
		p.a.net.BreakReceivers(syscall.EBADF)
		sleep(time.Second)
		p.a.configure(&config.Update{HasFirewallMark: true, FirewallMark: 7})
		p.a.net.fail(nil)
		sleep(10 * time.Second)
		if m := p.a.net.Mark(p.a.outer.Port()); m != 7 {
			t.Errorf("mark %d", m)
		}
	})
}

// An address family that comes later gets its socket when somebody is to be sent to
// over it, within 30 s; until then the other one is left alone.
func TestFamilyComes(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		a6, b6 := p.a.net.Addrs()[1], netip.AddrPortFrom(p.b.net.Addrs()[1], p.b.outer.Port())
		p.a.tun.Down()
		synctest.Wait()
		p.a.net.Move(p.a.outer.Addr())
		p.a.tun.Up()
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Endpoint: b6}}})
		p.a.send(p.a.packet4(p.b, "x"))
		if got := p.a.openings(300); got != nil {
			t.Errorf("the IPv4 socket was replaced after %v s, and there is no IPv6", got)
		}
		p.a.net.Move(p.a.outer.Addr(), a6)
		p.a.send(p.a.packet4(p.b, "y"))
		sleep(reopenLast + 10*time.Second)
		p.crossesTo(b6)
		p.a.wantSockets("", 0, 1)
	})
}

// A wish for a family that is missing is not lost with what else opens sockets before it is that wish's turn.
func TestFamilyIsStillWanted(t *testing.T) {
	for name, opens := range map[string]func(p *pair){
		"down and up": func(p *pair) { p.a.tun.Down(); synctest.Wait(); p.a.tun.Up() },
		"port":        func(p *pair) { p.a.configure(&config.Update{HasListenPort: true, ListenPort: 51821}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, Options{})
				a6, b6 := p.a.net.Addrs()[1], netip.AddrPortFrom(p.b.net.Addrs()[1], p.b.outer.Port())
				p.a.tun.Down()
				synctest.Wait()
				p.a.net.Move(p.a.outer.Addr())
				p.a.tun.Up()
				p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Endpoint: b6}}})
				p.a.send(p.a.packet4(p.b, "x"))
				sleep(10 * time.Second)
				for n := 0; !p.a.d.state.asked.Load(); n++ { // it was looked for, and is to be again
					if sleep(time.Second); n == 60 {
						t.Fatal("it is not looked for")
					}
				}
				opens(p)
				synctest.Wait()
				p.a.net.Move(p.a.outer.Addr(), a6)
				p.a.send(p.a.packet4(p.b, "y"))
				sleep(reopenLast + 10*time.Second)
				p.crossesTo(b6)
				p.a.wantSockets("", 0, 1)
			})
		})
	}
}

// crossesTo is crosses, and b is reached at that endpoint.
func (p *pair) crossesTo(at netip.AddrPort) {
	p.a.t.Helper()
	p.a.received()
	p.b.received()
	p.crosses()
	if e := p.a.status(p.b).Endpoint; e != at {
		p.a.t.Errorf("b is at %v", e)
	}
}

// What a single datagram meets is not the sockets' fault.
func TestRefusedDatagramsLeaveSocketsAlone(t *testing.T) {
	for _, err := range []error{syscall.EPERM, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENOBUFS, syscall.EMSGSIZE,
		syscall.EINVAL, syscall.EACCES, syscall.ECONNREFUSED, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, fmt.Errorf("some other error")} {
		if conn.Broken(err) {
			t.Errorf("%v is said to break a socket", err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		opens := p.a.net.opens.Load()
		p.lan.setFate(func(d *datagram) { d.err = syscall.EPERM })
		for range 10 {
			p.a.send(p.a.packet4(p.b, "x"))
			sleep(time.Second)
		}
		if n := p.a.net.opens.Load(); n != opens || p.a.drops(DropSendError) < 10 {
			t.Errorf("opened %d times; %s", n-opens, p.a.allDrops())
		}
	})
}
