package sim

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// apply makes an event happen. What cannot happen as things are (a peer that is gone
// cannot be moved) does not.
func (w *world) apply(e *event) {
	a, b := w.nodes[e.a], w.nodes[e.b]
	w.stats.Events[e.kind.String()]++
	if e.kind != evFlow {
		w.say(nil, "event %v", *e)
	}
	switch e.kind {
	case evFlow, evSpoof, evNowhere:
		w.applyTraffic(e, a, b)
	case evLink:
		w.path(a, b).quality, w.path(b, a).quality = qualities[e.n%len(qualities)], qualities[e.n/16%len(qualities)]
	case evCut:
		w.path(a, b).cut, w.path(b, a).cut = true, true
	case evIsolate, evMend:
		for _, o := range w.nodes {
			w.path(a, o).cut, w.path(o, a).cut = e.kind == evIsolate, e.kind == evIsolate
		}
	case evRebind:
		a.address()
		if a.nat == nil {
			a.host.Move(a.addrs...)
		}
	case evSleep:
		a.clock.boot.Add(int64(e.d))
		a.clock.wall.Add(int64(e.d))
		a.jumped()
	case evWall:
		a.clock.wall.Add(int64(e.d))
	case evDown:
		a.down()
	case evUp:
		a.raise()
	case evRefuse, evTunFails, evSlow:
		w.applyFault(e, a)
	case evMTU:
		a.tun.SetMTU(e.n)
	case evReplay:
		w.replay(e, a)
	case evForge:
		w.forge(e, a)
	case evHeal:
		w.heal()
	default:
		w.applyConfig(e, a, b)
	}
}

func (w *world) applyTraffic(e *event, a, b *node) {
	f := w.newFlow(a, b, e.n, e.d)
	switch e.kind {
	case evSpoof:
		f.spoof, f.every = true, 10*time.Millisecond
		f.src = netip.AddrPortFrom(netip.MustParseAddr("10.250.0.1"), 1)
		f.dst = netip.AddrPortFrom(inner(b.plan.prefixes[0], 0), 1)
	case evNowhere:
		f.nowhere, f.left = true, 1
		f.src = netip.AddrPortFrom(inner(a.plan.prefixes[0], 0), 1)
		f.dst = netip.AddrPortFrom(netip.MustParseAddr("10.251.0.1"), 1)
	}
	f.due()
}

// applyFault has something fail for a while.
func (w *world) applyFault(e *event, a *node) {
	switch e.kind {
	case evRefuse:
		a.refusing.Add(1)
		w.later(w.now()+e.d, item{then: func() { a.refusing.Add(-1) }})
	case evTunFails:
		a.tunFailing.Add(1)
		w.later(w.now()+e.d, item{then: func() { a.tunFailing.Add(-1) }})
	case evSlow:
		if a.slow {
			return
		}
		a.slow = true
		until := w.now() + min(e.d, 5*time.Second)
		var next func()
		next = func() {
			a.drain(1)
			if a.slow = a.slow && w.now() < until; a.slow {
				w.later(w.now()+40*time.Millisecond, item{then: next})
			}
		}
		next()
	}
}

func (n *node) refusal() error {
	if n.refusing.Load() > 0 {
		return syscall.EPERM
	}
	return nil
}

func (n *node) tunFailure() error {
	if n.tunFailing.Load() > 0 {
		return syscall.ENOBUFS
	}
	return nil
}

// down takes the link down.
func (n *node) down() {
	if !n.up {
		return
	}
	n.w.settle()
	n.tun.Down()
	n.w.settle() // until then it may send
	n.up = false
	for _, p := range n.peers {
		p.voided()
	}
}

// raise takes the link up.
func (n *node) raise() {
	if n.up {
		return
	}
	n.up = true
	for _, p := range n.peers {
		p.voided()
	}
	n.tun.Up()
}

// set configures the node, and wants it to work.
func (n *node) set(format string, args ...any) {
	n.drain(1 << 30) // by the rules of before
	for _, p := range n.peers {
		p.touched()
	}
	if reply := n.uapi.set(fmt.Sprintf(format, args...)); reply != "errno=0" {
		n.w.fail(n, "set answers %s to\n%s", reply, fmt.Sprintf(format, args...))
	}
	n.w.settle()
}

// restore gives the node the configuration it has when all is well. Peers that stay
// keep their sessions.
func (n *node) restore() {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=%d\nreplace_peers=true\n", hex.EncodeToString(n.priv[:]), n.port)
	for _, p := range n.peers {
		p.canonical()
		p.introduce()
		b.WriteString(p.section(p.server()))
	}
	n.set("%s", b.String())
}

// introduce has the model know p as it is now; a new key is a new peer.
func (p *peer) introduce() {
	if !p.present || p.pub != p.other.public() {
		p.renew()
	}
	if e := p.server(); e.IsValid() {
		p.legit[e], p.free, p.at = true, true, netip.AddrPort{}
	}
	p.keepsSince = p.of.now()
}

// server is the endpoint that p's node is configured with: servers have one.
func (p *peer) server() netip.AddrPort {
	if !p.other.plan.server {
		return netip.AddrPort{}
	}
	return p.other.endpoint(p.edge.six)
}

// heal ends all troubles.
func (w *world) heal() {
	for _, p := range w.paths {
		p.mend()
	}
	for _, n := range w.nodes {
		n.drain(1 << 30)
		n.slow = false
		n.refusing.Store(0)
		n.tunFailing.Store(0)
		n.tun.SetMTU(1420)
		if n.jumpedAt != 0 && n.now().Sub(n.jumpedAt) < rejectAfter {
			n.down() // its keys are older to it than to the others, which in truth would sleep as long
		}
		n.raise()
		w.settle()
	}
	for _, n := range w.nodes {
		n.regainKey()
		n.restore()
	}
	w.calm = true
	// What was on its way may have led a node back to where a server was before.
	w.later(w.now()+inFlight, item{then: func() {
		for _, n := range w.nodes {
			n.announce()
		}
	}})
}
