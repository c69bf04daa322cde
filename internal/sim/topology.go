package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"culvert/device"
)

// A topology is what a seed makes before anything happens: nodes, who is whose peer,
// who owns which inner addresses. It is never shrunk.
type topology struct {
	nodes []nodePlan
	edges []edge
	gro   bool
	queue int // datagrams that a socket keeps
}

// nodePlan is one device. Servers stay where they are; the others may roam or be
// behind a NAT.
type nodePlan struct {
	server, nat, six bool // six: it has an outer IPv6 address too
	prefixes         []netip.Prefix
	workers          int
	budget           int64
	depth            int // packets that the system keeps of what the device wrote
	keepalive        int // that its peers are given, in seconds
	shards           int // TUN queues, and sockets of each family
}

// edge is two nodes that know each other; b is a server.
type edge struct {
	a, b int
	psk  bool
	six  bool // a knows b by its IPv6 address
}

// drawTopology draws one of n nodes; n is 0: of 2 to 20.
func drawTopology(r *rand.Rand, n int) *topology {
	if n == 0 {
		n = 2 + r.IntN(4)
		if r.IntN(4) == 0 {
			n = 6 + r.IntN(15)
		}
	}
	t := &topology{gro: r.IntN(2) == 0, queue: pick(r, 4096, 4096, 24)}
	servers := max(1, r.IntN(n/2+1))
	for i := range n {
		p := nodePlan{server: i < servers, six: r.IntN(2) == 0, depth: pick(r, 4096, 4096, 20), keepalive: pick(r, 0, 0, 25, 5, 60)}
		p.nat = !p.server && r.IntN(2) == 0
		p.six = p.six && !p.nat
		p.workers = pick(r, -1, -1, 2)
		p.shards = pick(r, 1, 1, 1, 2)
		p.budget = pick(r, 0, int64(p.shards)*device.MinBudget)
		p.prefixes = drawPrefixes(r, i)
		t.nodes = append(t.nodes, p)
	}
	nest(r, t.nodes)
	for a := range n {
		for b := range servers {
			if a != b && (a >= servers || b < a) && (b == a%servers || r.IntN(3) == 0) {
				t.edges = append(t.edges, edge{a: a, b: b, psk: r.IntN(2) == 0, six: t.nodes[a].six && t.nodes[b].six && r.IntN(2) == 0})
			}
		}
	}
	for a := 1; a < servers; a++ { // servers in a chain, so that nobody is alone
		if !t.joined(a, a-1) {
			t.edges = append(t.edges, edge{a: a, b: a - 1, psk: r.IntN(2) == 0})
		}
	}
	return t
}

func (t *topology) joined(a, b int) bool {
	for _, e := range t.edges {
		if e.a == a && e.b == b || e.a == b && e.b == a {
			return true
		}
	}
	return false
}

// drawPrefixes draws what node i owns, of both families, and apart from all others.
func drawPrefixes(r *rand.Rand, i int) []netip.Prefix {
	four := netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 0})
	six := netip.MustParseAddr(fmt.Sprintf("fd00:%x::", i+1))
	ps := []netip.Prefix{netip.PrefixFrom(four, pick(r, 16, 20, 31)), netip.PrefixFrom(six, pick(r, 32, 64, 127))}
	for k := range r.IntN(3) {
		ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), byte(k)}), 32),
			netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd01:%x::%x", i+1, k+1)), 128))
	}
	return ps
}

// nest gives some nodes a part of what another one owns: the longest prefix decides.
func nest(r *rand.Rand, nodes []nodePlan) {
	for i := range nodes {
		j := r.IntN(len(nodes))
		if j == i || r.IntN(3) > 0 || nodes[j].prefixes[0].Bits() != 16 {
			continue
		}
		nodes[i].prefixes = append(nodes[i].prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(j + 1), 200, byte(i)}), 32))
	}
}

// inner is an address within a prefix; small ones have two.
func inner(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	if p.IsSingleIP() {
		return a
	}
	if n%2 == 0 {
		a = a.Next()
	}
	return a
}

// pick is one of what is given.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// between is a time in [from, to), in whole milliseconds.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(r.Int64N(int64(to-from)))).Truncate(time.Millisecond)
}
