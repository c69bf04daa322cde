//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"culvert/internal/nstest"
)

// Whoever moves, the other side follows the source of the last authenticated
// packet.
func TestRoaming(t *testing.T) {
	for _, role := range roles {
		for _, outer6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s over IPv%d", role.name, family(outer6)), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, options{left: role.left(t), right: role.right(t), outer6: outer6})
				pings(t, p.left.NS, rightTun4, 2)
				oldLeft, newLeft, oldRight, newRight, bits := leftIP4, "10.0.0.11", rightIP4, "10.0.0.12", "/24"
				if outer6 {
					oldLeft, newLeft, oldRight, newRight, bits = leftIP6, "fd00::11", rightIP6, "fd00::12", "/64"
				}
				must(t, p.left.IP("addr del "+oldLeft+bits+" dev "+leftVeth, nstest.AddAddress(newLeft+bits, leftVeth)), p.left.Ready(newLeft))
				pings(t, p.left.NS, rightTun4, 2)
				wantEndpoint(t, p.right, p.left, endpoint(newLeft, leftPort))
				must(t, p.right.IP("addr del "+oldRight+bits+" dev "+rightVeth, nstest.AddAddress(newRight+bits, rightVeth)), p.right.Ready(newRight))
				pings(t, p.right.NS, leftTun4, 2)
				wantEndpoint(t, p.left, p.right, endpoint(newRight, rightPort))
				pings(t, p.left.NS, rightTun6, 2)
			})
		}
	}
	t.Run("from IPv4 to IPv6 and back", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		for _, to := range []struct{ left, right string }{{leftIP4, rightIP4}, {leftIP6, rightIP6}, {leftIP4, rightIP4}} {
			setEndpoint(t, p.left, p.right, endpoint(to.right, rightPort))
			pings(t, p.left.NS, rightTun4, 2)
			wantEndpoint(t, p.right, p.left, endpoint(to.left, leftPort))
		}
	})
}

func wantEndpoint(t *testing.T, of, other *nstest.Host, want string) {
	t.Helper()
	if got := peer(t, of, other).Endpoint; got != want {
		t.Errorf("%s has %s at %s, not %s", of.Label, other.Label, got, want)
	}
}

// A link-local endpoint keeps its zone, given by hand or learned.
func TestLinkLocalEndpoint(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{before: func(left, right *nstest.Host) {
		must(t, left.IP("addr add fe80::1/64 dev "+leftVeth+" nodad"), right.IP("addr add fe80::2/64 dev "+rightVeth+" nodad"), left.Ready("fe80::1"), right.Ready("fe80::2"))
	}})
	setEndpoint(t, p.left, p.right, "[fe80::2%"+leftVeth+"]:51822")
	pings(t, p.left.NS, rightTun4, 3)
	pings(t, p.right.NS, leftTun4, 3)
	wantEndpoint(t, p.right, p.left, "[fe80::1%"+rightVeth+"]:51821")
}

func TestListenPortChange(t *testing.T) {
	t.Run("the peer follows", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 2)
		command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", "51999")
		if p.left.Bound("udp", leftPort) || !p.left.Bound("udp", 51999) {
			t.Errorf("bound to %v", p.left.Ports("udp"))
		}
		pings(t, p.left.NS, rightTun4, 2)
		wantEndpoint(t, p.right, p.left, endpoint(leftIP4, 51999))
	})
	t.Run("a port in use leaves the old one working", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 2)
		taken := udpSocket(t, p.left.NS, ":0")
		_, err := p.left.Run("wg", "set", p.left.WG, "listen-port", fmt.Sprint(taken))
		if err == nil {
			t.Error("a port in use was accepted")
		}
		pings(t, p.left.NS, rightTun4, 2)
		pings(t, p.right.NS, leftTun4, 2)
		wantEndpoint(t, p.right, p.left, endpoint(leftIP4, leftPort))
		if got := command(t, p.left.NS, "wg", "show", p.left.WG, "listen-port"); got != fmt.Sprintln(leftPort) {
			t.Errorf("listen port is shown as %s", got)
		}
	})
	t.Run("setting the same port again keeps the sockets", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		before := udpInodes(t, p.left.NS)
		command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", fmt.Sprint(leftPort))
		if after := udpInodes(t, p.left.NS); after != before {
			t.Errorf("the sockets were %s and are %s", before, after)
		}
	})
}
