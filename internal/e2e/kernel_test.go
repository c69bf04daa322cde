//go:build linux

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/internal/load"
	"culvert/internal/nstest"
)

// These tests talk to the kernel's own WireGuard. Where there is none they are skipped, unless CULVERT_KERNEL is
// require, which is how `make vm` runs them; so are, without that, those that take minutes.

// kernelLacks is why the kernel has no WireGuard.
var kernelLacks = sync.OnceValue(func() error {
	l, err := nstest.New()
	if err != nil {
		return err
	}
	defer l.Close()
	h, err := l.NewHost("kernel")
	if err != nil {
		return err
	}
	return h.StartDaemon(nstest.Kernel)
})

func required() bool { return os.Getenv("CULVERT_KERNEL") == "require" }

// kernels is the kernel's WireGuard; the test is skipped where there is none.
func kernels(t *testing.T) nstest.Program {
	t.Helper()
	if skipReason != "" {
		t.Skip(skipReason)
	}
	if err := kernelLacks(); err != nil {
		if required() {
			t.Fatal(err)
		}
		t.Skip("this kernel has no WireGuard: ", err)
	}
	return nstest.Kernel
}

// newKernelPair makes a pair of which right is the kernel's.
func newKernelPair(t *testing.T, o options) *pair {
	t.Helper()
	o.right = kernels(t)
	return newPair(t, o)
}

// What is changed on one side while the tunnel is up, the other follows. Ours is confined, as it always is here.
func TestKernelFollows(t *testing.T) {
	t.Run("our port and mark", func(t *testing.T) {
		t.Parallel()
		p := newKernelPair(t, options{})
		if s, _ := confinementOf(t, p.left); !s.On || !s.Seccomp {
			t.Errorf("not confined: %+v", s)
		}
		for _, port := range []string{"443", "51999"} {
			command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", port, "fwmark", port)
			pings(t, p.left.NS, rightTun4, 2)
			wantEndpoint(t, p.right, p.left, leftIP4+":"+port)
		}
	})
	t.Run("its port", func(t *testing.T) {
		t.Parallel()
		p := newKernelPair(t, options{})
		pings(t, p.left.NS, rightTun4, 1)
		command(t, p.right.NS, "wg", "set", p.right.WG, "listen-port", "51999")
		pings(t, p.right.NS, leftTun4, 2)
		wantEndpoint(t, p.left, p.right, endpoint(rightIP4, 51999))
		pings(t, p.left.NS, rightTun4, 2)
	})
	t.Run("a peer that is removed and comes again", func(t *testing.T) {
		t.Parallel()
		p := newKernelPair(t, options{})
		pings(t, p.left.NS, rightTun4, 1)
		for _, h := range []struct{ of, other *nstest.Host }{{p.left, p.right}, {p.right, p.left}} {
			command(t, h.of.NS, "wg", "set", h.of.WG, "peer", h.other.Public, "remove")
			at, tun := endpoint(leftIP4, leftPort), leftTun4
			if h.of == p.left {
				at, tun = endpoint(rightIP4, rightPort), rightTun4
			}
			command(t, h.of.NS, "wg", "set", h.of.WG, "peer", h.other.Public, "endpoint", at, "allowed-ips", tun+"/32")
			pings(t, h.of.NS, tun, 2)
		}
	})
	t.Run("a new preshared key", func(t *testing.T) {
		t.Parallel()
		p := newKernelPair(t, options{psk: true, bothKnow: true})
		pings(t, p.left.NS, rightTun4, 1)
		psk := nstest.NewPSK()
		must(t, setPSK(p.left, p.right, psk), setPSK(p.right, p.left, psk))
		// Down and up, so that the next packet needs a handshake.
		must(t, p.right.IP("link set "+p.right.WG+" down", "link set "+p.right.WG+" up"))
		pings(t, p.right.NS, leftTun4, 2)
	})
}

// A persistent keepalive of either side arrives at the other: 32 bytes each second, and a handshake before.
func TestKernelKeepalive(t *testing.T) {
	for _, who := range []string{"ours", "its"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			p := newKernelPair(t, options{bothKnow: true})
			from, to := p.left, p.right
			if who == "its" {
				from, to = to, from
			}
			command(t, from.NS, "wg", "set", from.WG, "peer", to.Public, "persistent-keepalive", "1")
			const initiation, keepalive = 148, 32
			eventually(t, patience, "three of them", func() bool { return peer(t, to, from).RX >= initiation+3*keepalive })
			if rx := peer(t, to, from).RX; (rx-initiation)%keepalive != 0 {
				t.Errorf("%d bytes are no initiation and keepalives", rx)
			}
		})
	}
}

// Keys are renewed when they are 120 s old, by whom the session was begun, and no packet is lost.
func TestKernelRekeys(t *testing.T) {
	if !required() {
		t.Skip("takes 140 s: make vm runs it")
	}
	for _, role := range []struct {
		name        string
		left, right func(*testing.T) nstest.Program
	}{{"ours renews", us, kernels}, {"the kernel renews", kernels, us}} {
		t.Run(role.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{left: role.left(t), right: role.right(t), psk: true})
			pings(t, p.left.NS, rightTun4, 1)
			first := peer(t, p.left, p.right).Handshake
			const count = 280
			run, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-i", "0.5", "-W", "5", "-c", fmt.Sprint(count), rightTun6}})
			must(t, err)
			must(t, run.Wait(count*time.Second))
			if out := run.Stdout(); !strings.Contains(out, fmt.Sprintf("%[1]d packets transmitted, %[1]d received", count)) {
				t.Errorf("lost: %s", out)
			}
			l, r := peer(t, p.left, p.right).Handshake, peer(t, p.right, p.left).Handshake
			if l-first < 115 || l-first > 135 || r-first < 115 || r-first > 135 {
				t.Errorf("the first handshake was at %d, the last at %d and %d", first, l, r)
			}
		})
	}
}

// cookieTable counts the cookie replies that come in, which are 64 bytes and UDP's 8, and all handshake messages.
const cookieTable = `
table inet e2e {
	counter cookies {}
	counter initiations {}
	chain in {
		type filter hook input priority 0;
		udp sport 51822 udp length 72 counter name cookies
		udp dport 51822 udp length 156 counter name initiations
	}
}`

// A kernel that is under load tells ours to prove its address, and it does. Not the other way round: emulated, what puts ours
// under load waits for longer than the 5 s after which the kernel has sent another initiation.
func TestKernelUnderLoad(t *testing.T) { // not parallel: the machine is busy
	p := newKernelPair(t, options{before: func(left, right *nstest.Host) {
		must(t, left.NFT(cookieTable), right.NFT(cookieTable))
	}})
	count := func(n *nstest.NS, counter string) int64 {
		all, err := n.Counters("inet", "e2e")
		must(t, err)
		return all[counter]
	}
	defer flooding(t, p.right)()
	eventually(t, patience, "the flood has begun", func() bool { return count(p.right.NS, "initiations") > 2000 })
	_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-i", "0.5", rightTun4}})
	must(t, err)
	eventually(t, 90*time.Second, "a cookie and a handshake", func() bool {
		return count(p.left.NS, "cookies") > 0 && peer(t, p.left, p.right).Handshake != 0
	})
}

// flooding sends a host the initiations of strangers from many addresses, as many as it can, until
// stop is called, 5 minutes at most.
func flooding(t *testing.T, h *nstest.Host) (stop func()) {
	t.Helper()
	hub := load.Hub{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), rightPort)}
	key, err := base64.StdEncoding.DecodeString(h.Public)
	must(t, err)
	copy(hub.Public[:], key)
	c, err := load.New(hub, 1, 1)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends with ctx
		done <- h.Do(func() error { _, err := c.Flood(ctx, load.UnknownKey, 0, 5*time.Minute); return err })
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the flood: %v", err)
		}
	}
}
