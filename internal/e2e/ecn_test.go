//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"culvert/internal/nstest"
)

// The TOS values that a ping is given, by what ECN calls them (RFC 3168).
var ecnNames = []string{"not-ect", "ect1", "ect0", "ce"}

// tosTable counts, where they arrive, outer data packets by ECN and those
// that carry a DSCP, and handshake messages by DSCP AF41; and inner echo
// requests by ECN. %[1]s is the family outside, %[2]s inside, %[3]s the
// tunnel. In a UDP header of 8 bytes the type of the message is at bit 64.
const tosTable = `
table inet e2e {
	counter outer_not-ect {}
	counter outer_ect0 {}
	counter outer_ect1 {}
	counter outer_ce {}
	counter outer_dscp {}
	counter inner_not-ect {}
	counter inner_ect0 {}
	counter inner_ect1 {}
	counter inner_ce {}
	counter handshake_af41 {}
	counter handshake_other {}
	chain outer {
		type filter hook prerouting priority -300;
		iifname "veth*" udp sport 51821-51822 @th,64,32 { 0x01000000, 0x02000000 } %[1]s dscp af41 counter name handshake_af41
		iifname "veth*" udp sport 51821-51822 @th,64,32 { 0x01000000, 0x02000000 } %[1]s dscp != af41 counter name handshake_other
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s ecn not-ect counter name outer_not-ect
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s ecn ect0 counter name outer_ect0
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s ecn ect1 counter name outer_ect1
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s ecn ce counter name outer_ce
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s dscp != cs0 counter name outer_dscp
	}
	chain inner {
		type filter hook input priority 0;
		iifname %[3]s %[2]s ecn not-ect counter name inner_not-ect
		iifname %[3]s %[2]s ecn ect0 counter name inner_ect0
		iifname %[3]s %[2]s ecn ect1 counter name inner_ect1
		iifname %[3]s %[2]s ecn ce counter name inner_ce
	}
}`

// congest makes every WireGuard data packet arrive marked CE: a router on the
// way was congested. %[1]s is the family outside.
const congest = `
table inet congestion {
	chain in {
		type filter hook prerouting priority -400;
		iifname "veth*" udp sport 51821-51822 @th,64,32 0x04000000 %[1]s ecn set ce
	}
}`

// congestMarked does that only to those that know of ECN.
const congestMarked = `
table inet congestion {
	chain in {
		type filter hook prerouting priority -400;
		iifname "veth*" udp sport 51821 @th,64,32 0x04000000 %[1]s ecn ect0 %[1]s ecn set ce
	}
}`

var families = []string{"ip", "ip6"}

// tosPair is a pair whose right side counts TOS values.
func tosPair(t *testing.T, inner6, outer6 bool, o options) (p *pair, target string) {
	t.Helper()
	o.outer6 = outer6
	target = rightTun4
	if inner6 {
		target = rightTun6
	}
	o.before = func(left, right *nstest.Host) {
		must(t,
			right.NFT(fmt.Sprintf(tosTable, families[index(outer6)], families[index(inner6)], right.WG)),
			left.NFT(fmt.Sprintf(tosTable, families[index(outer6)], families[index(inner6)], left.WG)),
		)
	}
	return newPair(t, o), target
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func tosCounters(t *testing.T, n *nstest.NS) map[string]int64 {
	t.Helper()
	c, err := n.Counters("inet", "e2e")
	must(t, err)
	return c
}

// eachFamily runs a test for every mix of address families.
func eachFamily(t *testing.T, test func(t *testing.T, inner6, outer6 bool)) {
	for _, inner6 := range []bool{false, true} {
		for _, outer6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("IPv%d in IPv%d", family(inner6), family(outer6)), func(t *testing.T) {
				t.Parallel()
				test(t, inner6, outer6)
			})
		}
	}
}

// RFC 6040, section 4.1 (normal mode): the outer ECN field is the inner one;
// the inner DSCP stays inside.
func TestECNIsCopiedOutward(t *testing.T) {
	eachFamily(t, func(t *testing.T, inner6, outer6 bool) {
		// A firewall counts a UDP GSO message as one packet, and requests that wait for a busy machine are sent in one.
		single := ours
		single.Env = append(single.Env[:len(single.Env):len(single.Env)], "CULVERT_NO_GSO=1")
		p, target := tosPair(t, inner6, outer6, options{left: single})
		pings(t, p.left.NS, target, 1)
		for tos, name := range ecnNames {
			before := tosCounters(t, p.right.NS)
			const af21 = 0x48
			pings(t, p.left.NS, target, 4, "-Q", fmt.Sprint(af21|tos))
			after := tosCounters(t, p.right.NS)
			if n := after["outer_"+name] - before["outer_"+name]; n < 4 {
				t.Errorf("%s: %d of 4 packets are marked so outside", name, n)
			}
			if n := after["inner_"+name] - before["inner_"+name]; n < 4 { // ping sends more where an answer is late
				t.Errorf("%s: %d of 4 packets are marked so inside", name, n)
			}
			if n := after["outer_dscp"]; n != 0 {
				t.Errorf("%s: %d data packets show a DSCP outside", name, n)
			}
		}
	})
}

// RFC 6040, section 4.2: outer CE makes the inner packet CE, and drops one
// that does not know of ECN.
func TestCongestionIsFoldedInward(t *testing.T) {
	eachFamily(t, func(t *testing.T, inner6, outer6 bool) {
		p, target := tosPair(t, inner6, outer6, options{})
		pings(t, p.left.NS, target, 1)
		must(t, p.right.NFT(fmt.Sprintf(congest, families[index(outer6)])))
		for tos, name := range ecnNames {
			before := tosCounters(t, p.right.NS)
			wanted, wait := 4, "10"
			if name == "not-ect" {
				wanted, wait = 0, "1"
			}
			if n := ping(t, p.left.NS, target, 4, "-W", wait, "-Q", fmt.Sprint(tos)); n != wanted {
				t.Errorf("%s: %d of 4 pings answered, not %d", name, n, wanted)
			}
			after := tosCounters(t, p.right.NS)
			for _, other := range ecnNames {
				want := int64(0)
				if other == "ce" {
					want = int64(wanted)
				}
				if n := after["inner_"+other] - before["inner_"+other]; n != want {
					t.Errorf("%s: %d packets came out as %s, not %d", name, n, other, want)
				}
			}
		}
	})
}

// The same under load, where packets are merged and sent in runs: none loses
// its mark. TCP with ECN sends ECT(0) data, and not-ECT packets without data.
func TestCongestionUnderLoad(t *testing.T) {
	eachFamily(t, func(t *testing.T, inner6, outer6 bool) {
		p, target := tosPair(t, inner6, outer6, options{})
		must(t, p.left.Sysctl("net/ipv4/tcp_ecn", "1"), p.right.Sysctl("net/ipv4/tcp_ecn", "1"))
		iperf(t, p.left.NS, p.right.NS, target, "-n", "4M")
		before := tosCounters(t, p.right.NS)
		if before["inner_ect0"] < 20 || before["outer_ect0"] < 20 || before["inner_ce"] != 0 {
			t.Fatalf("without congestion: %v", before)
		}
		// Only marked packets can be congested: the others would be dropped.
		must(t, p.right.NFT(fmt.Sprintf(congestMarked, families[index(outer6)])))
		pings(t, p.left.NS, target, 1) // behind all that came unmarked
		before = tosCounters(t, p.right.NS)
		iperf(t, p.left.NS, p.right.NS, target, "-n", "1M")
		after := tosCounters(t, p.right.NS)
		if n := after["inner_ect0"] - before["inner_ect0"]; n != 0 {
			t.Errorf("%d packets lost their CE", n)
		}
		if n := after["inner_ce"]; n < 20 {
			t.Errorf("only %d packets came out as CE", n)
		}
	})
}

// Handshake messages go out with DSCP AF41 (TOS 0x88), whatever caused them.
func TestHandshakesHaveDSCP(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("over IPv%d", family(outer6)), func(t *testing.T) {
			t.Parallel()
			p, target := tosPair(t, false, outer6, options{})
			pings(t, p.left.NS, target, 2, "-Q", "2")
			for _, h := range []*nstest.Host{p.right, p.left} { // the initiation, the response
				if c := tosCounters(t, h.NS); c["handshake_af41"] != 1 || c["handshake_other"] != 0 {
					t.Errorf("%s got %d handshake messages with AF41 and %d without", h.Label, c["handshake_af41"], c["handshake_other"])
				}
			}
		})
	}
}
