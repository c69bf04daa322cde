package sim

import "net/netip"

// nat is what a node is behind: each of its ports gets one of the NAT's when it first
// sends, and lets in only what comes from where it has sent to (a port restricted
// cone, RFC 4787). It forgets only when it is told to.
type nat struct {
	outer netip.Addr
	next  uint16
	ports map[uint16]*mapping // by the NAT's port
	inner map[netip.AddrPort]uint16
}

// mapping is one port of the NAT.
type mapping struct {
	inner    netip.AddrPort
	sentToIt map[netip.AddrPort]bool
}

// rebind forgets everything and goes on with another address.
func (n *nat) rebind(outer netip.Addr) {
	n.outer, n.next = outer, n.next+4096
	n.ports, n.inner = map[uint16]*mapping{}, map[netip.AddrPort]uint16{}
}

// leave is what the source of a datagram becomes.
func (n *nat) leave(from, to netip.AddrPort) netip.AddrPort {
	port, ok := n.inner[from]
	if !ok {
		n.next++
		port = n.next
		n.inner[from] = port
		n.ports[port] = &mapping{inner: from, sentToIt: map[netip.AddrPort]bool{}}
	}
	n.ports[port].sentToIt[to] = true
	return netip.AddrPortFrom(n.outer, port)
}

// enter is what the destination of a datagram becomes; false: it is not let in.
func (n *nat) enter(from, to netip.AddrPort) (netip.AddrPort, bool) {
	m := n.ports[to.Port()]
	if m == nil || to.Addr() != n.outer || !m.sentToIt[from] {
		return netip.AddrPort{}, false
	}
	return m.inner, true
}
