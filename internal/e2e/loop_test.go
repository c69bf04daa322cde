//go:build linux

package e2e

import (
	"testing"
	"time"

	"culvert/internal/nstest"
)

// loopLimit is what a routing loop may send in its first second, in bytes (the
// bound of the kernel's own test).
const loopLimit = 70000

// staysBelow fails the test if bytes() passes the limit within a second.
func staysBelow(t *testing.T, what string, bytes func() int64) {
	t.Helper()
	begin := bytes()
	if nstest.Eventually(time.Second, func() bool { return bytes()-begin >= loopLimit }) {
		t.Errorf("%s: %d bytes in the first second", what, bytes()-begin)
	}
}

// An endpoint that is routed into its own tunnel does not keep the daemon busy.
func TestRoutingLoop(t *testing.T) {
	sent := func(p *pair) func() int64 {
		return func() int64 { return peer(t, p.left, p.right).TX }
	}
	t.Run("the endpoint is moved into the tunnel with a live session", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 2)
		setEndpoint(t, p.left, p.right, endpoint(rightTun4, rightPort))
		_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-c", "1", rightTun4}})
		must(t, err)
		staysBelow(t, "IPv4", sent(p))
	})
	t.Run("the same over IPv6", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{outer6: true})
		pings(t, p.left.NS, rightTun6, 2)
		setEndpoint(t, p.left, p.right, endpoint(rightTun6, rightPort))
		_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-c", "1", rightTun6}})
		must(t, err)
		staysBelow(t, "IPv6", sent(p))
	})
	t.Run("a default route into the tunnel without a mark", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 2)
		command(t, p.left.NS, "wg", "set", p.left.WG, "peer", p.right.Public, "allowed-ips", "0.0.0.0/0,::/0")
		must(t, p.left.IP("route add 10.0.0.2/32 dev "+p.left.WG))
		_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-c", "1", rightTun4}})
		must(t, err)
		staysBelow(t, "default route", sent(p))
		must(t, p.left.IP("route del 10.0.0.2/32 dev "+p.left.WG))
		eventually(t, patience, "the tunnel works again", func() bool { return ping(t, p.left.NS, rightTun4, 1, "-W", "1") == 1 })
	})
	t.Run("through two hosts it ends", func(t *testing.T) {
		t.Parallel()
		// What left sends to 10.66.0.1 right sends back through the tunnel to
		// left, which forwards it to right again.
		p := newPair(t, options{before: func(left, right *nstest.Host) {
			must(t, left.Sysctl("net/ipv4/ip_forward", "1"), right.Sysctl("net/ipv4/ip_forward", "1"),
				left.IP("route add 10.66.0.0/24 via "+rightIP4))
		}})
		command(t, p.right.NS, "wg", "set", p.right.WG, "peer", p.left.Public, "allowed-ips", leftTun4+"/32,10.66.0.0/24")
		command(t, p.left.NS, "wg", "set", p.left.WG, "peer", p.right.Public, "allowed-ips", "0.0.0.0/0")
		must(t, p.right.IP("route add 10.66.0.0/24 dev "+p.right.WG))
		for _, h := range []*nstest.Host{p.left, p.right} {
			for _, dev := range []string{"all", h.WG} {
				must(t, h.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"))
			}
		}
		pings(t, p.left.NS, rightTun4, 2)
		_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-c", "1", "10.66.0.1"}})
		must(t, err)
		staysBelow(t, "two hosts", func() int64 { return peer(t, p.right, p.left).TX })
	})
}

// A peer whose endpoint lies behind another peer of the same interface: its
// packets go through the tunnel twice, and that is no loop.
func TestNestedTunnel(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{before: func(_, right *nstest.Host) { must(t, right.Sysctl("net/ipv4/ip_forward", "1")) }})
	far, err := p.lab.NewHost("far")
	must(t, err,
		nstest.Join(p.right.NS, "toFar", far.NS, "toRight", 1500),
		p.right.IP("addr add 10.8.0.2/24 dev toFar"),
		far.IP("addr add 10.8.0.3/24 dev toRight", "route add default via 10.8.0.2"),
		far.StartDaemon(ours),
		far.Configure("ListenPort = 51823\n"+section(p.left, "192.168.78.1", "fd78::1")),
		far.Up(1420, "192.168.78.3/24", "fd78::3/64"),
	)
	command(t, p.left.NS, "wg", "set", p.left.WG,
		"peer", p.right.Public, "allowed-ips", rightTun4+"/32,10.8.0.0/24",
		"peer", far.Public, "allowed-ips", "192.168.78.3/32,fd78::3/128", "endpoint", "10.8.0.3:51823")
	must(t, p.left.IP(
		"addr add 192.168.78.1/24 dev "+p.left.WG, "addr add fd78::1/64 dev "+p.left.WG+" nodad",
		"route add 10.8.0.0/24 dev "+p.left.WG,
	), p.left.Ready("fd78::1"))
	pings(t, p.left.NS, "192.168.78.3", 5)
	pings(t, p.left.NS, "fd78::3", 5, "-s", "1000")
	wantEndpoint(t, far, p.left, endpoint(leftTun4, leftPort))
	if r := iperf(t, p.left.NS, far.NS, "192.168.78.3", "-n", "16M"); r.Bytes < 8<<20 {
		t.Errorf("%d bytes arrived of 16 MiB", r.Bytes)
	}
	if r := iperf(t, p.left.NS, far.NS, "192.168.78.3", "-n", "16M", "-R"); r.Bytes < 8<<20 {
		t.Errorf("%d bytes arrived of 16 MiB on the way back", r.Bytes)
	}
}
