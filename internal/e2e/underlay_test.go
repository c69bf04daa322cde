//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// The outer packets are fragmented where the path is too small for them, as
// the kernel's are: a tunnel does not stop because of its MTU.
func TestSmallPathMTU(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		for _, mtu := range []struct{ tunnel, underlay int }{{1420, 1280}, {9000, 1500}} {
			t.Run(fmt.Sprintf("MTU %d in %d over IPv%d", mtu.tunnel, mtu.underlay, family(outer6)), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, options{mtu: mtu.tunnel, underlay: mtu.underlay, outer6: outer6})
				p.carriesEverything(t, mtu.tunnel)
			})
		}
	}
	t.Run("a narrow link behind a router", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{before: narrowRouter(t)})
		must(t, p.left.Configure(section(p.right, rightTun4, rightTun6)+"Endpoint = 10.3.0.2:51822\n"))
		p.carriesEverything(t, 1420)
	})
}

// narrowRouter gives right the address 10.3.0.2 behind a router that left
// reaches at 10.2.0.3, over a link with an MTU of 1280.
func narrowRouter(t *testing.T) func(left, right *nstest.Host) {
	return func(left, right *nstest.Host) {
		router, err := left.Lab().Namespace("router")
		must(t, err,
			nstest.Join(left.NS, "toRouter", router, "left", 1500),
			nstest.Join(router, "right", right.NS, "toRouter", 1280),
			router.Sysctl("net/ipv4/ip_forward", "1"),
			router.IP("addr add 10.2.0.3/24 dev left", "addr add 10.3.0.3/24 dev right"),
			left.IP("addr add 10.2.0.1/24 dev toRouter", "route add 10.3.0.0/24 via 10.2.0.3"),
			right.IP("addr add 10.3.0.2/24 dev toRouter", "route add 10.2.0.0/24 via 10.3.0.3"),
		)
	}
}

// fromTable counts in a namespace where WireGuard packets come from.
const fromTable = `
table inet e2e {
	counter asked {}
	counter other {}
	chain in {
		type filter hook input priority 0;
		udp sport 51822 %[1]s saddr %[2]s counter name asked
		udp sport 51822 %[1]s saddr != %[2]s counter name other
	}
}`

// A host with two addresses answers from the one it was asked at, also when
// the kernel merges what it receives (GRO) and sends in one go (GSO).
func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	for _, c := range []struct{ name, family, second, prefix string }{
		{"IPv4", "ip", "10.0.0.22", "/24"},
		{"IPv6", "ip6", "fd00::22", "/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{before: func(left, right *nstest.Host) {
				must(t,
					right.IP(nstest.AddAddress(c.second+c.prefix, rightVeth)), right.Ready(c.second),
					left.NFT(fmt.Sprintf(fromTable, c.family, c.second)),
				)
			}})
			setEndpoint(t, p.left, p.right, endpoint(c.second, rightPort))
			pings(t, p.left.NS, rightTun4, 5)
			iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "16M")
			iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "16M", "-R")
			pings(t, p.left.NS, rightTun4, 5)
			n, err := p.left.Counters("inet", "e2e")
			must(t, err)
			if n["other"] != 0 || n["asked"] < 20 {
				t.Errorf("%d packets came from %s and %d from elsewhere", n["asked"], c.second, n["other"])
			}
			if got := peer(t, p.left, p.right).Endpoint; got != endpoint(c.second, rightPort) {
				t.Errorf("the endpoint became %s", got)
			}
		})
	}
}

// setEndpoint changes where a host looks for another.
func setEndpoint(t *testing.T, of, other *nstest.Host, to string) {
	t.Helper()
	command(t, of.NS, "wg", "set", of.WG, "peer", other.Public, "endpoint", to)
}

// The address a host answered from goes away: nothing is lost, the datagram is
// sent again from another one.
func TestSourceAddressRemoved(t *testing.T) {
	for _, c := range []struct{ name, first, second, prefix string }{
		{"IPv4", rightIP4, "10.0.0.22", "/24"},
		{"IPv6", rightIP6, "fd00::22", "/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{before: func(_, right *nstest.Host) {
				must(t, right.IP(nstest.AddAddress(c.second+c.prefix, rightVeth)), right.Ready(c.second))
			}})
			setEndpoint(t, p.left, p.right, endpoint(c.second, rightPort))
			pings(t, p.left.NS, rightTun4, 3)
			must(t, p.right.IP("addr del "+c.second+c.prefix+" dev "+rightVeth))
			pings(t, p.right.NS, leftTun4, 5)
			if got := peer(t, p.left, p.right).Endpoint; got != endpoint(c.first, rightPort) {
				t.Errorf("left answers to %s", got)
			}
		})
	}
}

// Where IPv6 is switched off or absent, IPv4 alone works and the port is the
// one that was asked for, also after the interface was down.
func TestWithoutIPv6(t *testing.T) {
	t.Parallel()
	off := func(left, right *nstest.Host) {
		for _, h := range []*nstest.Host{left, right} {
			must(t, h.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"), h.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"))
		}
	}
	p := newLink(t, options{before: off})
	p.start(t, options{})
	p.configure(t, options{})
	must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
	pings(t, p.left.NS, rightTun4, 3)
	must(t, p.right.IP("link set "+p.right.WG+" down", "link set "+p.right.WG+" up"))
	if got := strings.TrimSpace(command(t, p.right.NS, "wg", "show", p.right.WG, "listen-port")); got != fmt.Sprint(rightPort) {
		t.Errorf("listen port is %s, not %d", got, rightPort)
	}
	must(t, p.right.Listening())
	pings(t, p.right.NS, leftTun4, 3) // right has no session now and makes one
	command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", "0")
	if got := strings.TrimSpace(command(t, p.left.NS, "wg", "show", p.left.WG, "listen-port")); got == "0" {
		t.Error("a port chosen by the system is shown as 0")
	}
	pings(t, p.left.NS, rightTun4, 3)
}

// twoWays puts a router between left and right that left reaches by two links,
// first and second. Right is host 9 of network 9; the first link has metric 100.
func twoWays(t *testing.T, net func(n int, host string) string) func(left, right *nstest.Host) {
	return func(left, right *nstest.Host) {
		router, err := left.Lab().Namespace("router")
		must(t, err,
			nstest.Join(left.NS, "first", router, "first", 1500),
			nstest.Join(left.NS, "second", router, "second", 1500),
			nstest.Join(router, "right", right.NS, "toRouter", 1500),
			router.Sysctl("net/ipv4/ip_forward", "1"), router.Sysctl("net/ipv6/conf/all/forwarding", "1"),
			router.IP(nstest.AddAddress(net(4, "2"), "first"), nstest.AddAddress(net(5, "2"), "second"), nstest.AddAddress(net(9, "1"), "right")),
			left.IP(nstest.AddAddress(net(4, "1"), "first"), nstest.AddAddress(net(5, "1"), "second")),
			right.IP(nstest.AddAddress(net(9, "9"), "toRouter"), "route add default via "+host(net(9, "1"))),
			left.Ready(net(4, "1"), net(5, "1")), router.Ready(net(4, "2"), net(5, "2"), net(9, "1")), right.Ready(net(9, "9")),
			left.IP("route add "+net(9, "0")+" via "+host(net(4, "2"))+" metric 100"),
			left.NFT(`table inet e2e {
				counter first {}
				counter second {}
				chain out {
					type filter hook output priority 0;
					oifname first udp dport 51822 counter name first
					oifname second udp dport 51822 counter name second
				}
			}`),
		)
		for _, dev := range []string{"first", "second", "right"} { // a router looks for neighbours from a link-local address
			must(t, router.IP("addr add fe80::1/64 dev "+dev+" nodad"))
		}
		for _, dev := range []string{"all", "first", "second"} { // the old source may come by the new link once
			must(t, router.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"), left.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0"))
		}
	}
}

// host is a prefix without its length.
func host(prefix string) string {
	address, _, _ := strings.Cut(prefix, "/")
	return address
}

// A better route is taken, and a removed one left, within a second, while
// traffic runs.
func TestRouteChangesAreFollowed(t *testing.T) {
	for _, c := range []struct {
		name string
		net  func(n int, host string) string
	}{
		{"IPv4", func(n int, host string) string { return fmt.Sprintf("10.%d.0.%s/24", n, host) }},
		{"IPv6", func(n int, host string) string { return fmt.Sprintf("fd0%d::%s/64", n, host) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{before: twoWays(t, c.net)})
			setEndpoint(t, p.left, p.right, endpoint(host(c.net(9, "9")), rightPort))
			pings(t, p.left.NS, rightTun4, 3)
			_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-q", "-i", "0.02", rightTun4}})
			must(t, err)
			count := func(link string) int64 {
				n, err := p.left.Counters("inet", "e2e")
				must(t, err)
				return n[link]
			}
			uses := func(link string) func() bool {
				before := count(link)
				return func() bool { return count(link) > before+3 }
			}
			better := "route %s " + c.net(9, "0") + " via " + host(c.net(5, "2")) + " metric 50"
			eventually(t, 2*time.Second, "the first route is used", uses("first"))
			// 1 s is promised; a busy machine gets as much again.
			must(t, p.left.IP(fmt.Sprintf(better, "add")))
			eventually(t, 2*time.Second, "the better route is used", uses("second"))
			eventually(t, 2*time.Second, "right sees the address of the second link", func() bool {
				return peer(t, p.right, p.left).Endpoint == endpoint(host(c.net(5, "1")), leftPort)
			})
			must(t, p.left.IP(fmt.Sprintf(better, "del")))
			eventually(t, 2*time.Second, "the removed route is left", uses("first"))
			wantEndpoint(t, p.left, p.right, endpoint(host(c.net(9, "9")), rightPort))
			pings(t, p.left.NS, rightTun4, 3)
		})
	}
}
