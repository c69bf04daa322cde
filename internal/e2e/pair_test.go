//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"culvert/internal/nstest"
)

// Addresses of a pair: left is .1, right is .2.
const (
	leftIP4, rightIP4   = "10.0.0.1", "10.0.0.2" // outside
	leftIP6, rightIP6   = "fd00::1", "fd00::2"
	leftTun4, rightTun4 = "192.168.77.1", "192.168.77.2" // inside
	leftTun6, rightTun6 = "fd77::1", "fd77::2"
	leftPort, rightPort = 51821, 51822
	leftVeth, rightVeth = "veth1", "veth2"
)

// options are what differs between pairs; the zero value is the usual tunnel
// of two of our daemons.
type options struct {
	left, right nstest.Program // ours if not set
	mtu         int            // of the tunnel, 1420 if 0
	underlay    int            // MTU of the link between the hosts, 1500 if 0
	outer6      bool           // IPv6 outside
	psk         bool
	// before runs when the namespaces are joined and no daemon is started yet.
	before func(left, right *nstest.Host)
	// bothKnow is set where both hosts are given the other's endpoint; else only
	// left is, and right has to learn.
	bothKnow bool
}

// pair is two hosts joined by a link, each with a daemon, configured as peers.
// Left knows where right is and so is the one to initiate.
type pair struct {
	lab         *nstest.Lab
	left, right *nstest.Host
}

// newPair makes a pair that is ready for traffic.
func newPair(t *testing.T, o options) *pair {
	t.Helper()
	p := newLink(t, o)
	p.start(t, o)
	p.configure(t, o)
	must(t,
		p.left.Up(orElse(o.mtu, 1420), leftTun4+"/24", leftTun6+"/64"),
		p.right.Up(orElse(o.mtu, 1420), rightTun4+"/24", rightTun6+"/64"),
	)
	return p
}

// newLink makes the two hosts and the link, without daemons.
func newLink(t *testing.T, o options) *pair {
	t.Helper()
	l := newLab(t)
	left, err := l.NewHost("left")
	must(t, err)
	right, err := l.NewHost("right")
	must(t, err)
	must(t,
		nstest.Join(left.NS, leftVeth, right.NS, rightVeth, orElse(o.underlay, 1500)),
		left.IP(nstest.AddAddress(leftIP4+"/24", leftVeth), nstest.AddAddress(leftIP6+"/64", leftVeth)),
		right.IP(nstest.AddAddress(rightIP4+"/24", rightVeth), nstest.AddAddress(rightIP6+"/64", rightVeth)),
		left.Ready(leftIP6), right.Ready(rightIP6),
	)
	p := &pair{l, left, right}
	t.Cleanup(func() {
		if t.Failed() {
			p.explain(t)
		}
	})
	if o.before != nil {
		o.before(left, right)
	}
	return p
}

// explain logs what the daemons have to say.
func (p *pair) explain(t *testing.T) {
	for _, h := range []*nstest.Host{p.left, p.right} {
		said := ""
		if h.Daemon != nil {
			said = h.Daemon.Stderr()
		}
		if h.HasLink(h.WG) || said != "" {
			transfer, _ := h.Run("wg", "show", h.WG, "transfer")
			link, _ := h.Run("ip", "-s", "link", "show", "dev", h.WG)
			t.Logf("%s:\n%s%s%s", h.Label, said, transfer[:min(len(transfer), 2000)], link)
		}
	}
}

// start starts both daemons.
func (p *pair) start(t *testing.T, o options) {
	t.Helper()
	if o.left.Name == "" {
		o.left = ours
	}
	if o.right.Name == "" {
		o.right = ours
	}
	must(t, p.left.StartDaemon(o.left), p.right.StartDaemon(o.right))
}

// configure makes the two hosts peers of each other.
func (p *pair) configure(t *testing.T, o options) {
	t.Helper()
	toRight, toLeft := endpoint(rightIP4, rightPort), endpoint(leftIP4, leftPort)
	if o.outer6 {
		toRight, toLeft = endpoint(rightIP6, rightPort), endpoint(leftIP6, leftPort)
	}
	psk := ""
	if o.psk {
		psk = "PresharedKey = " + nstest.NewPSK() + "\n"
	}
	if o.bothKnow {
		toLeft = "Endpoint = " + toLeft + "\n"
	} else {
		toLeft = ""
	}
	must(t,
		p.left.Configure(fmt.Sprintf("ListenPort = %d\n", leftPort)+
			section(p.right, rightTun4, rightTun6)+psk+"Endpoint = "+toRight+"\n"),
		p.right.Configure(fmt.Sprintf("ListenPort = %d\n", rightPort)+
			section(p.left, leftTun4, leftTun6)+psk+toLeft),
	)
}

// section begins the [Peer] section about a host with those addresses inside.
func section(h *nstest.Host, tun4, tun6 string) string {
	return fmt.Sprintf("[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, %s/128\n", h.Public, tun4, tun6)
}

// endpoint writes an address and a port as wg(8) does.
func endpoint(ip string, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)).String()
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
