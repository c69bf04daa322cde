package sim

import (
	"culvert/conn/conntest"
	"culvert/noise"
)

// group is what a node gets at once: datagrams of one other node, or packets from its
// system. What else is due comes when the node has nothing more to do, so that it makes
// no difference which of its goroutines is quicker.
type group struct {
	arrivals []arrival
	packets  []*flow // a packet of each
}

// What a group may have. Datagrams are as many as one receive takes: the first of them
// can make the controller send what is staged, while a second receive notes more.
const (
	maxArrivals = 16
	maxPackets  = 40
)

// enqueue finds out where a datagram arrives, and has it delivered.
func (w *world) enqueue(a arrival) {
	n := a.direct
	if n == nil {
		n = w.owner(a.dst.Addr())
	}
	if n == nil {
		return
	}
	if n.nat != nil && a.direct == nil {
		to, ok := n.nat.enter(a.src, a.dst)
		if !ok {
			w.say(n, "nat keeps out a datagram from %v", a.src)
			return
		}
		a.dst = to
	}
	if l := len(n.queue); l > 0 && n.queue[l-1].takes(a) {
		n.queue[l-1].arrivals = append(n.queue[l-1].arrivals, a)
		return
	}
	n.queue = append(n.queue, group{arrivals: []arrival{a}})
}

// takes reports whether a may come with what is in g: transport messages of one node
// to one socket.
func (g *group) takes(a arrival) bool {
	if len(g.arrivals) == 0 || len(g.arrivals) == maxArrivals || a.sent == nil || a.kind != noise.TypeTransport {
		return false
	}
	l := g.arrivals[0]
	return l.sent != nil && l.from == a.from && l.kind == a.kind && l.dst == a.dst
}

// inject has a packet of f sent.
func (n *node) inject(f *flow) {
	if l := len(n.queue); l > 0 && n.queue[l-1].takesPacket(n.shard(f)) {
		n.queue[l-1].packets = append(n.queue[l-1].packets, f)
		return
	}
	n.queue = append(n.queue, group{packets: []*flow{f}})
}

// shard is the TUN queue that a flow of n is in.
func (n *node) shard(f *flow) int { return f.id % n.plan.shards }

// takesPacket reports whether a packet in that queue of the TUN may come with what is in g.
func (g *group) takesPacket(shard int) bool {
	return len(g.packets) > 0 && len(g.packets) < maxPackets && g.packets[0].from.shard(g.packets[0]) == shard
}

// takeGroup gives the node the next group; false if there is none.
func (n *node) takeGroup() bool {
	if len(n.queue) == 0 {
		return false
	}
	g := n.queue[0]
	n.queue = n.queue[1:]
	if len(g.arrivals) > 0 {
		n.receive(g.arrivals)
	}
	for _, f := range g.packets {
		n.send(f)
	}
	return true
}

// send puts a packet into the node's TUN.
func (n *node) send(f *flow) {
	seq := len(f.packets)
	p := packet{sent: n.w.now()}
	p.peer = n.lookup(f.dst.Addr())
	f.packets = append(f.packets, p)
	if !n.tun.SendQueue(n.shard(f), f.packet(seq)) {
		n.w.say(n, "tun is down: flow %d #%d is lost", f.id, seq)
		return
	}
	n.w.say(n, "tun< flow %d #%d to %s", f.id, seq, f.to.name)
	n.w.stats.Packets++
	n.tally.injected++
	if n.w.now() >= n.w.plan.calm && !f.spoof && !f.nowhere {
		n.w.owed = append(n.w.owed, owed{f, seq})
	}
	if p.peer != nil {
		p.peer.wanted()
	}
}

// receive delivers datagrams to the node's sockets.
func (n *node) receive(as []arrival) {
	var ds []conntest.Datagram
	for i := range as {
		ds = append(ds, conntest.Datagram{Data: as[i].bytes(), From: as[i].src, To: as[i].dst})
	}
	kinds := make([]noise.MessageType, len(as))
	for i := range ds {
		kinds[i] = noise.Classify(ds[i].Data) // before the device opens it in place
	}
	for i, ok := range n.w.net.Deliver(ds...) {
		a := &as[i]
		if !ok {
			n.w.say(n, "has no socket, or no room, for a datagram")
			continue
		}
		n.arrived(a, kinds[i], len(ds[i].Data))
	}
}

// arrived notes what the node has been given.
func (n *node) arrived(a *arrival, kind noise.MessageType, size int) {
	n.tally.arrived(kind, size)
	if a.sent == nil {
		n.w.say(n, "< %v of a stranger, %d bytes", kind, size)
		return
	}
	n.w.say(n, "< %s %s%s", a.from.name, a.describe(), map[bool]string{true: ", damaged"}[a.corrupted])
	if len(n.heard) < 64 {
		n.heard = append(n.heard, *a)
	} else {
		n.heard[int(a.serial)%64] = *a
	}
	if a.kind == noise.TypeInitiation && n.w.now() >= n.w.plan.calm && !a.corrupted && !a.forged && !a.reached {
		n.unanswered = append(n.unanswered, a.sent)
	}
	if p := n.peerOf(a.from); p != nil {
		p.heardFrom(a)
	}
	if f := n.w.classes[class{a.from, len(a.Data)}]; f != nil && a.kind == noise.TypeTransport && !a.corrupted {
		f.progress(n).arrived(a.serial, n)
	}
}

func (f *flow) progress(n *node) *progress {
	if f.at[n] == nil {
		f.at[n] = &progress{seq: -1}
	}
	return f.at[n]
}

// arrived notes a datagram of the flow.
func (p *progress) arrived(serial uint64, n *node) {
	if serial > p.serial {
		p.serial = serial
	} else if !p.disordered {
		p.disordered = true
		n.disordered = append(n.disordered, p)
	}
}

// endGroup is called when a node is done with a group: what is disordered within it
// has come out, and what was to be answered at once is answered.
func (n *node) endGroup() {
	for _, s := range n.unanswered {
		if s.answered == 0 {
			n.w.fail(n, "does not answer an initiation of %s, though all is well", s.from.name)
		}
	}
	n.unanswered = n.unanswered[:0]
	if n.slow {
		return
	}
	for _, p := range n.disordered {
		p.disordered = false
	}
	n.disordered = n.disordered[:0]
}

// drain takes up to most packets out of the TUN, and looks whether they should be there.
func (n *node) drain(most int) {
	for range most {
		b, ok := n.tun.TryRecv()
		if !ok {
			return
		}
		all := [][]byte{b}
		if n.w.faults.writes != nil {
			all = n.w.faults.writes(n, b)
		}
		for _, b := range all {
			n.delivered(b)
		}
	}
}
