package session

import (
	"errors"
	"fmt"

	"culvert/device/config"
	"culvert/noise"
	"culvert/timers"
)

// The handshake workers of a node.

// build makes an initiation and gives the result back to the machine.
func (n *node) build(why Reason, attempt int) {
	n.made++
	local, stamp := n.index(), n.m.Stamp(n.s.wall())
	m := &message{kind: noise.TypeInitiation, name: fmt.Sprintf("%s%d", n.name, n.made), sender: local, stamp: stamp}
	p := &simPending{name: m.name}
	if n.s.real {
		var b [noise.InitiationSize]byte
		h, err := noise.CreateInitiation(n.s.bytes, n.id, n.remote, local, stamp, &b)
		if err != nil {
			n.s.fatalf("%v", err)
		}
		m.bytes, p.h = b[:], h
	}
	n.s.later(n.s.built, func() {
		n.pending[local] = p
		var out Actions
		n.m.Initiated(n.s.now, local, &out)
		n.perform(&out, m, "")
	})
	m.text = fmt.Sprintf("initiation %d because %s", attempt, why)
}

// sendHandshake sends what was built.
func (n *node) sendHandshake(m *message) {
	if m.kind == noise.TypeInitiation {
		if last := n.lastInitiation; !n.exempt && last != 0 && n.s.now < timers.MayInitiateAt(last) {
			n.s.fatalf("%s: an initiation %v after the last one", n.name, n.s.now.Sub(last))
		}
		n.lastInitiation, n.exempt, n.lastSent = n.s.now, false, m
	}
	n.transmit(m, m.text)
}

func (n *node) receiveInitiation(m *message) {
	in := noise.OpenedInitiation{Timestamp: m.stamp, RemoteIndex: m.sender}
	if n.s.real {
		var err error
		if in, err = n.id.OpenInitiation(m.bytes, func(config.PublicKey) *noise.Remote { return n.remote }); err != nil {
			n.s.fatalf("%v", err)
		}
	}
	var out Actions
	before := n.state()
	if err := n.m.Initiation(n.s.now, &in, &out); err != nil {
		n.unchanged(err, before, &out)
		return
	}
	n.got(false)
	n.accepted, n.opened = m, in
	n.perform(&out, nil, "")
}

// unchanged is a law: an error changes nothing.
func (n *node) unchanged(err error, before state, out *Actions) {
	if *out != (Actions{}) || before != n.state() {
		n.s.fatalf("%s: the error %q changed something", n.name, err)
	}
	switch {
	case errors.Is(err, ErrOldTimestamp):
		n.s.logf("%s refuses an old timestamp", n.name)
	case errors.Is(err, ErrTooSoon):
		n.s.logf("%s refuses an initiation that came too soon", n.name)
	case errors.Is(err, ErrStale):
		n.s.logf("%s refuses a stale response", n.name)
	default:
		n.s.fatalf("%v", err)
	}
}

// respond makes a response to m and gives the result back to the machine.
func (n *node) respond(m *message, in noise.OpenedInitiation) {
	local := n.index()
	kp := &noise.Keypair{LocalIndex: local, RemoteIndex: m.sender}
	r := &message{kind: noise.TypeResponse, name: m.name, sender: local, receiver: m.sender, text: "response"}
	if n.s.real {
		var b [noise.ResponseSize]byte
		var err error
		if kp, err = noise.CreateResponse(n.s.bytes, &in, n.remote, local, &b); err != nil {
			n.s.fatalf("%v", err)
		}
		r.bytes = b[:]
	}
	var out Actions
	n.m.Responded(n.s.now, kp, &out)
	n.perform(&out, r, m.name)
}

func (n *node) receiveResponse(m *message) {
	kp := &noise.Keypair{LocalIndex: m.receiver, RemoteIndex: m.sender, Initiator: true}
	p := n.pending[m.receiver]
	if n.s.real && p != nil {
		var err error
		if kp, err = n.id.OpenResponse(p.h, n.remote, m.bytes); err != nil {
			n.s.fatalf("%v", err)
		}
	}
	var out Actions
	before := n.state()
	if err := n.m.Response(n.s.now, m.receiver, kp, &out); err != nil {
		n.unchanged(err, before, &out)
		return
	}
	n.got(false)
	n.perform(&out, nil, p.name)
}
