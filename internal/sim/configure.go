package sim

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// applyConfig changes what a node is told by way of the UAPI.
func (w *world) applyConfig(e *event, a, b *node) {
	p := a.peerOf(b)
	switch e.kind {
	case evKey:
		w.changeKey(e, a)
		return
	case evNoKey:
		w.dropKey(e, a)
		return
	case evPort:
		a.port += uint16(1 + e.n%3)
		a.set("listen_port=%d\n", a.port)
		w.follow(e.d, a.announce)
		return
	case evAdd:
		for _, p := range a.peers {
			if p.other == b && !p.present {
				p.introduce()
				a.set("%s", p.section(p.server()))
			}
		}
		return
	case evBadSet:
		w.badSet(e, a)
		return
	case evSame:
		a.same()
		return
	case evGet:
		a.checkGet()
		return
	}
	if p == nil {
		return
	}
	switch e.kind {
	case evRemove:
		a.set("public_key=%s\nremove=true\n", p.hex())
		p.present = false
		p.voided()
	case evMove:
		w.move(e, a, p)
	case evPSK:
		newStream(w.plan.seed, uint64(e.at)).Read(p.psk[:])
		a.set("public_key=%s\npreshared_key=%s\n", p.hex(), hex.EncodeToString(p.psk[:]))
		psk := p.psk
		w.follow(e.d, func() {
			if q := b.peerOf(a); q != nil {
				q.psk = psk
				b.set("public_key=%s\npreshared_key=%s\n", q.hex(), hex.EncodeToString(q.psk[:]))
			}
		})
	case evKeepalive:
		p.keepalive, p.keepsSince = e.n, a.now()
		a.set("public_key=%s\npersistent_keepalive_interval=%d\n", p.hex(), e.n)
	}
}

// dropKey takes a node's private key away for a while.
func (w *world) dropKey(e *event, a *node) {
	if a.keyless {
		return
	}
	for _, p := range a.peers {
		p.voided()
	}
	a.set("private_key=%s\n", strings.Repeat("0", 64))
	a.keyless = true
	w.follow(e.d, a.regainKey)
}

// regainKey gives it back.
func (n *node) regainKey() {
	if !n.keyless {
		return
	}
	n.keyless = false
	for _, p := range n.peers {
		p.voided()
	}
	n.set("private_key=%s\n", hex.EncodeToString(n.priv[:]))
}

// changeKey gives a node another private key, and tells its peers a little later.
func (w *world) changeKey(e *event, a *node) {
	a.keyless = false
	a.newKey()
	for _, p := range a.peers {
		p.voided()
	}
	a.set("private_key=%s\n", hex.EncodeToString(a.priv[:]))
	w.follow(e.d, func() {
		for _, q := range w.nodes {
			if p := q.peerOf(a); p != nil && p.pub != a.public() {
				old := p.hex()
				p.introduce()
				q.set("public_key=%s\nremove=true\n%s", old, p.section(p.server()))
			}
		}
	})
}

// follow has something done after a while, unless all is well by then.
func (w *world) follow(after time.Duration, do func()) {
	w.later(w.now()+after, item{then: func() {
		if !w.calm {
			do()
		}
	}})
}

// announce tells a node's peers where it is now, if it is a server.
func (n *node) announce() {
	for _, q := range n.w.nodes {
		if p := q.peerOf(n); p != nil && p.server().IsValid() {
			p.legit[p.server()], p.free, p.at = true, true, netip.AddrPort{} // a new endpoint does not wait
			q.set("public_key=%s\nupdate_only=true\nendpoint=%v\n", p.hex(), p.server())
		}
	}
}

// move gives an allowed IP of p to another peer.
func (w *world) move(e *event, a *node, p *peer) {
	to := a.peers[e.n%len(a.peers)]
	if to == p || !to.present || len(p.prefixes) < 2 {
		return
	}
	i := e.n / 16 % len(p.prefixes)
	prefix := p.prefixes[i]
	a.set("public_key=%s\nallowed_ip=%v\n", to.hex(), prefix)
	p.prefixes = slices.Delete(p.prefixes, i, i+1)
	to.prefixes = append(to.prefixes, prefix)
}

// same tells the node what it has already.
func (n *node) same() {
	if n.keyless {
		return
	}
	text := "private_key=" + hex.EncodeToString(n.priv[:]) + "\nlisten_port=" + itoa(int(n.port)) + "\n"
	for _, p := range n.peers {
		if p.present {
			text += p.section(netip.AddrPort{})
		}
	}
	n.set("%s", text)
}

// badSet is a request that is refused, and must change nothing.
func (w *world) badSet(e *event, a *node) {
	before := a.configuration()
	text := []string{"private_key=00\n", "listen_port=1\nnonsense=1\n", "replace_peers=true\npublic_key=0\n", "listen_port=4000\n"}[e.n%4]
	if e.n%4 == 3 {
		if !a.up {
			return
		}
		a.host.FailListens(1, syscall.EMFILE)
	}
	if reply := a.uapi.set(text); reply == "errno=0" || len(reply) < 8 || reply[:7] != "errno=-" {
		w.fail(a, "a bad set is answered by %q", reply)
	}
	if after := a.configuration(); !slices.Equal(before, after) {
		w.fail(a, "a bad set has changed\n%q\nto\n%q", before, after)
	}
}
