package sim

import (
	"net/netip"
	"slices"
	"time"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
)

// peer is what one node has been told of another, and what was seen of both: what is
// needed to say whether a message of the one to the other is due. Times are the node's
// boot-time clock; 0 is never.
type peer struct {
	of, other *node
	edge      edge
	present   bool
	pub       config.PublicKey
	psk       config.PresharedKey
	keepalive int
	prefixes  []netip.Prefix

	legit      map[netip.AddrPort]bool // where other is, as far as the node may know
	at         netip.AddrPort          // where it surely is, as far as the node knows; invalid: one of those
	waiting    clock.Time              // since when a packet for it waits
	added      clock.Time              // when it was, last
	cleared    clock.Time              // sessions from before are over
	free       bool                    // an initiation need not wait for REKEY_TIMEOUT
	reason     clock.Time              // when there was last a reason to begin a series of initiations
	series     int                     // initiations since
	initiated  clock.Time              // last initiation
	initiatedW time.Duration           // the same on the world's clock
	crossedW   time.Duration           // when initiations of both crossed last, on the world's clock
	shaken     clock.Time              // last handshake message sent
	lastSent   clock.Time              // last authentic message of the instants before this one
	sentNow    clock.Time              // last one
	dataSent   clock.Time              // last data sent
	unanswered clock.Time              // since when data sent has no answer that was surely accepted
	silence    clock.Time              // since when data sent has no answer of any kind
	unacked    clock.Time              // since when data received has no answer
	dataHeard  []clock.Time            // when data arrived, the last half minute of it
	keepsSince clock.Time              // when the persistent keepalive was set, or could begin anew
	sending    *session                // it was last sent with
	answer     *session                // of the last response sent
	tx         uint64                  // bytes sent, as wg(8) shows them
}

// knows makes other a peer of n, in the model only.
func (n *node) knows(other *node, e edge) {
	p := &peer{of: n, other: other, edge: e}
	p.canonical()
	n.peers = append(n.peers, p)
}

// canonical makes p what it is when all is well.
func (p *peer) canonical() {
	p.psk, p.keepalive = config.PresharedKey{}, 0
	if p.edge.psk {
		newStream(p.of.w.plan.seed, uint64(p.edge.a)<<48|uint64(p.edge.b)<<32|0xffff).Read(p.psk[:])
	}
	if !p.of.plan.server {
		p.keepalive = p.of.plan.keepalive
	}
	p.prefixes = slices.Clone(p.other.plan.prefixes)
}

// renew is when the node has been told of p for the first time, or again.
func (p *peer) renew() {
	*p = peer{of: p.of, other: p.other, edge: p.edge, psk: p.psk, keepalive: p.keepalive, prefixes: p.prefixes,
		present: true, pub: p.other.public(), legit: map[netip.AddrPort]bool{}, added: p.of.now(), cleared: p.of.now(), free: true}
	p.touched()
	p.keepsSince = p.of.now()
}

// touched is when something happened that may lead to an initiation.
func (p *peer) touched() { p.reason, p.series = p.of.now(), 0 }

// wanted is when a packet is to be sent to p.
func (p *peer) wanted() {
	p.touched()
	if p.waiting == 0 && p.sentNow != 0 { // else it may not know where p is
		p.waiting = p.of.now()
	}
}

// voided is when all sessions with p are over.
func (p *peer) voided() {
	p.cleared, p.free = p.of.now(), true
	p.sending, p.answer, p.unanswered, p.silence, p.unacked, p.waiting = nil, nil, 0, 0, 0, 0
	p.dataHeard = nil
	p.touched()
	p.keepsSince = p.of.now()
}

// peerOf is what n knows of other; nil: nothing at the moment.
func (n *node) peerOf(other *node) *peer {
	for _, p := range n.peers {
		if p.other == other && p.present {
			return p
		}
	}
	return nil
}

// lookup is the peer with the longest prefix that holds a; nil: none.
func (n *node) lookup(a netip.Addr) (best *peer) {
	bits := -1
	for _, p := range n.peers {
		for _, prefix := range p.prefixes {
			if p.present && prefix.Bits() > bits && prefix.Contains(a) {
				best, bits = p, prefix.Bits()
			}
		}
	}
	return best
}

// heardFrom notes a datagram of p's node that has arrived.
func (p *peer) heardFrom(a *arrival) {
	p.touched()
	p.silence = 0
	if a.corrupted || a.forged || a.kind == noise.TypeCookieReply {
		return
	}
	p.legit[a.src] = true
	if p.at != a.src {
		p.at = netip.AddrPort{}
	}
	now := p.of.now()
	s := a.sess
	switch {
	case a.kind == noise.TypeResponse && s != nil && s.ends[0].of == p.of && s.born[0] == 0:
		s.born[0], s.bornW = now, p.of.w.now()
	case a.kind == noise.TypeTransport && s != nil && s.role(p.of) >= 0:
		if r := s.role(p.of); s.heard[r] == 0 {
			s.heard[r] = now
		}
		if s == p.sending && !a.reached && now.Sub(s.born[s.role(p.of)]) < rejectAfter {
			p.unanswered = 0
			p.at = a.src
		}
		if len(a.Data) > noise.KeepaliveSize {
			p.dataHeard = append(p.dataHeard, now)
		}
	}
	a.reached = true
	p.forget(now)
}

// forget drops notes that are too old to matter.
func (p *peer) forget(now clock.Time) {
	for len(p.dataHeard) > 0 && now.Sub(p.dataHeard[0]) > 30*time.Second && !p.of.jumpedSince(p.dataHeard[0]) {
		p.dataHeard = p.dataHeard[1:]
	}
}
