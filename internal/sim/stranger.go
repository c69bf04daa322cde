package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"culvert/noise"
)

// stranger is where forged datagrams come from. Nobody has business to send there.
var stranger = netip.MustParseAddrPort("192.0.2.66:6666")

func (e *event) rand() *rand.Rand { return rand.New(rand.NewPCG(uint64(e.at), uint64(e.kind))) }

// replay has datagrams arrive again that arrived before, from where they came.
func (w *world) replay(e *event, n *node) {
	r := e.rand()
	for i := range min(e.n, len(n.heard)) {
		a := n.heard[r.IntN(len(n.heard))]
		a.direct, a.dst = n, n.target(a.dst)
		w.later(w.now()+2*grain*time.Duration(1+i), item{arrival: a})
	}
}

// forge has datagrams arrive from a stranger: damaged copies of what arrived before,
// initiations that were answered long ago, and junk.
func (w *world) forge(e *event, n *node) {
	r := e.rand()
	for i := range e.n {
		a := arrival{dst: n.target(netip.AddrPort{})}
		if r.IntN(3) == 0 || len(n.heard) == 0 {
			a.data = junk(r)
		} else {
			a = n.heard[r.IntN(len(n.heard))]
			a.dst = n.target(a.dst)
			if p := n.peerOf(a.from); a.kind != noise.TypeInitiation || a.corrupted || p == nil || a.answered <= p.cleared {
				a.damage(r)
			}
		}
		a.src, a.direct, a.forged = stranger, n, true
		w.later(w.now()+2*grain*time.Duration(1+i), item{arrival: a})
	}
}

// target is where n is, as to a datagram that once came to an address of its.
func (n *node) target(like netip.AddrPort) netip.AddrPort {
	for _, a := range n.addrs {
		if a.Is6() == like.Addr().Is6() {
			return netip.AddrPortFrom(a, n.port)
		}
	}
	return netip.AddrPortFrom(n.addrs[0], n.port)
}

// junk is bytes that are no message, or look like one.
func junk(r *rand.Rand) []byte {
	b := make([]byte, pick(r, 1, 3, 31, 32, 64, 92, 148, 149, 500))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if r.IntN(2) == 0 && len(b) > 4 {
		copy(b, []byte{byte(r.IntN(6)), 0, 0, 0})
	}
	return slices.Clip(b)
}
