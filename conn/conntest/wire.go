package conntest

import (
	"net/netip"
	"time"
)

// datagram is one on its way. Its data is its own.
type datagram struct {
	data     []byte
	from, to netip.AddrPort
	tos      byte
}

// ECN code points, RFC 3168: the low two bits of the TOS.
const (
	ecnMask   = 3
	ecnNotECT = 0
	ecnCE     = 3
)

// send puts d on the wire: everything that may happen to it is decided here.
func (n *Network) send(from *Host, d datagram) {
	n.count.Sent++
	to := n.hosts[d.to.Addr()]
	if to == nil || n.closed {
		n.count.Unreachable++
		return
	}
	p := n.path(from, to)
	l := &p.link
	switch {
	case p.down:
		n.count.Blocked++
		return
	case p.chance(l.Loss):
		n.count.Lost++
		return
	}
	if l.ClearTOS {
		d.tos = 0
	}
	if p.chance(l.CE) && d.tos&ecnMask != ecnNotECT {
		n.count.Marked++
		d.tos |= ecnCE
	}
	if p.chance(l.Duplicate) {
		n.count.Duplicated++
		twin := d
		twin.data = append([]byte(nil), d.data...)
		n.fly(twin, n.delay(p))
	}
	if len(d.data) > 0 && p.chance(l.Corrupt) {
		n.count.Corrupted++
		d.data[p.rand.IntN(len(d.data))] ^= 1 << p.rand.IntN(8)
	}
	n.fly(d, n.delay(p))
}

// chance is true at the given rate. A rate of 0 uses up no randomness.
func (p *path) chance(rate float64) bool { return rate > 0 && p.rand.Float64() < rate }

func (n *Network) delay(p *path) time.Duration {
	d := p.link.Delay
	if p.link.Jitter > 0 {
		d += time.Duration(p.rand.Int64N(int64(p.link.Jitter)))
	}
	if p.chance(p.link.Reorder) {
		n.count.Reordered++
		d += p.link.ReorderBy
	}
	return d
}

// fly delivers d after a while, or now.
func (n *Network) fly(d datagram, delay time.Duration) {
	if delay <= 0 {
		n.deliver(d)
		return
	}
	if len(n.flying) >= maxFlying {
		n.count.FlyingFull++
		return
	}
	n.order++
	n.flying.push(arrival{at: time.Now().Add(delay), order: n.order, datagram: d})
	if n.flying[0].order == n.order {
		n.schedule(delay)
	}
}

// schedule has land called after a while.
func (n *Network) schedule(d time.Duration) {
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.land)
		return
	}
	n.timer.Reset(d)
}

// land delivers what has arrived, in order. The timer calls it.
func (n *Network) land() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for len(n.flying) > 0 {
		if wait := n.flying[0].at.Sub(now); wait > 0 {
			n.schedule(wait)
			return
		}
		n.deliver(n.flying.pop().datagram)
	}
}

// deliver puts d into the queue of whoever has its destination now.
func (n *Network) deliver(d datagram) {
	var s *sockets
	if h := n.hosts[d.to.Addr()]; h != nil {
		s = h.ports[d.to.Port()]
	}
	if s == nil {
		n.count.Unreachable++
		return
	}
	shard := 0 // of those of the family
	if s.shards > 1 {
		shard = int(d.from.Addr().As16()[15]+byte(d.from.Port())) % s.shards
	}
	lane := s.lane(d.data)
	for _, r := range s.recv {
		if r.is4 != d.to.Addr().Is4() || r.lane != lane {
			continue
		}
		if shard--; shard >= 0 {
			continue
		}
		if len(r.queue) >= n.queue {
			n.count.QueueFull++
			return
		}
		n.count.Delivered++
		r.queue = append(r.queue, d)
		r.ready.Signal()
		return
	}
	n.count.Unreachable++
}
