package device

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/noise"
	"culvert/tun/tuntest"
)

// Several TUN queues, and several sockets on the port.

// flow is numbered packets with a source port of their own.
func (h *host) flow(to *host, port uint16, n uint32) []byte {
	return tuntest.UDP(netip.AddrPortFrom(h.inner4, port), netip.AddrPortFrom(to.inner4, 2000), binary.BigEndian.AppendUint32(nil, n))
}

// flowOf tells what flow made: the address and port a packet comes from, and its number.
func flowOf(ip []byte) (from netip.AddrPort, n uint32) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(ip[20:])), binary.BigEndian.Uint32(ip[28:])
}

// wantFlows fails the test unless as many flows have come out of h, each whole
// and in order.
func (h *host) wantFlows(flows int, each uint32) {
	h.t.Helper()
	next := map[netip.AddrPort]uint32{}
	for _, packet := range h.received() {
		from, n := flowOf(packet)
		if n != next[from] {
			h.t.Fatalf("%s: packet %d of %v came as number %d", h.name, n, from, next[from])
		}
		next[from]++
	}
	if len(next) != flows {
		h.t.Errorf("%s: %d flows, not %d", h.name, len(next), flows)
	}
	for from, n := range next {
		if n != each {
			h.t.Errorf("%s: %d of %d packets of %v (%s)", h.name, n, each, from, h.allDrops())
		}
	}
}

// With several readers on either side every flow arrives whole and in order: a
// flow is in one queue, and a peer's datagrams in one socket. Each reader uses
// sockets and a TUN file of its own.
func TestShardsKeepFlowsInOrder(t *testing.T) {
	const peers, each = 3, 400
	inBubble(t, func(t *testing.T, opts Options) {
		opts.Budget = 2 * MinBudget // nothing is to be lost
		l := newLAN(t)
		l.quiet = true
		a := newShardedHost(t, l, 1, 2, opts)
		var others []*host
		for i := range byte(peers) {
			o := newShardedHost(t, l, 2+i, 1+int(i%2), opts)
			o.knows(a)
			a.knows(o)
			x := a.packet4(o, "hello")
			a.send(x)
			o.wantReceived(x)
			others = append(others, o)
		}
		var senders sync.WaitGroup
		for queue := range 2 {
			senders.Go(func() {
				for n := range uint32(each) {
					for _, o := range others {
						a.tun.SendQueue(queue, a.flow(o, uint16(3000+queue), n))
					}
				}
			})
		}
		for _, o := range others {
			senders.Go(func() {
				for n := range uint32(each) {
					o.tun.Send(o.flow(a, 4000, n))
				}
			})
		}
		senders.Wait()
		for _, o := range others {
			o.wantFlows(2, each)
		}
		a.wantFlows(peers, each)
		for shard := range 2 {
			if a.net.sent[shard].Load() == 0 {
				t.Errorf("nothing was sent through sockets %d", shard)
			}
			if a.tun.Written(shard) == 0 {
				t.Errorf("nothing was written through file %d", shard)
			}
		}
	})
}

// Sockets that are replaced, and an interface that goes down and up, end and
// start every reader.
func TestShardsComeAndGo(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		opts.Budget = 2 * MinBudget
		l := newLAN(t)
		a, b := newShardedHost(t, l, 1, 2, opts), newShardedHost(t, l, 2, 2, opts)
		a.knows(b)
		b.knows(a)
		for i := range uint16(9) {
			first, second := a, b
			switch i % 3 {
			case 1:
				a.configure(&config.Update{HasListenPort: true, ListenPort: a.outer.Port() + i})
			case 2: // a does not know that the session is gone
				first, second = b, a
				b.tun.Down()
				synctest.Wait()
				b.tun.Up()
				sleep(time.Second) // a does not take two initiations at once
			}
			for queue := range 2 {
				x, y := first.packet4(second, "there"), second.packet4(first, "and back")
				first.tun.SendQueue(queue, x)
				second.wantReceived(x)
				second.tun.SendQueue(queue, y)
				first.wantReceived(y)
			}
		}
	})
}

// turnstile is a network on which what is sent to one address waits to be let through.
type turnstile struct {
	conn.Sockets
	to     netip.AddrPort
	passes chan struct{} // one for each Send
}

func (g *turnstile) SendFrom(_ int, runs []conn.Run) { g.Send(runs) }

func (g *turnstile) Send(runs []conn.Run) {
	if runs[0].To.Remote == g.to {
		<-g.passes
	}
	g.Sockets.Send(runs)
}

// A reader that sends for a peer what another reader has for it does not do so
// for ever: the peers of its own packets have their turn.
func TestReaderServesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		opts := Options{Workers: -1, Budget: 256 << 20} // for all that waits
		a, b, c := newShardedHost(t, l, 1, 2, opts), newHost(t, l, 2, opts), newHost(t, l, 3, opts)
		for _, o := range []*host{b, c} {
			a.knows(o)
			o.knows(a)
			x := a.packet4(o, "hello")
			a.send(x)
			o.wantReceived(x)
		}
		g := &turnstile{Sockets: *a.d.sockets.Load(), to: b.outer, passes: make(chan struct{})}
		a.d.sockets.Store(new(conn.Sockets(g)))
		open := sync.OnceFunc(func() { close(g.passes) })
		defer open()
		const more = maxWaiting + 4
		a.tun.SendQueue(0, a.flow(b, 1, 0)) // queue 0's reader is b's sender from here on
		synctest.Wait()
		for n := range uint32(more) {
			a.tun.SendQueue(1, a.flow(b, 2, n))
			synctest.Wait()
		}
		x := a.packet4(c, "mine")
		a.tun.SendQueue(0, x)
		for range 1 + maxWaiting { // the first, and a term of the others
			g.passes <- struct{}{}
			synctest.Wait()
		}
		c.wantReceived(x)
		open()
		got := map[uint16]uint32{}
		for _, packet := range b.received() {
			from, n := flowOf(packet)
			if n != got[from.Port()] {
				t.Fatalf("packet %d of flow %d came as number %d", n, from.Port(), got[from.Port()])
			}
			got[from.Port()]++
		}
		if got[1] != 1 || got[2] != more {
			t.Errorf("%d and %d packets", got[1], got[2])
		}
	})
}

// Likewise one that delivers what another reader has received from a peer.
func TestReceiverServesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		opts := Options{Workers: -1, Budget: 256 << 20} // for all that waits
		a, b, c := newShardedHost(t, l, 1, 2, opts), newHost(t, l, 2, opts), newHost(t, l, 4, opts)
		for _, o := range []*host{b, c} { // both in the same socket of a
			a.knows(o)
			o.knows(a)
			x := a.packet4(o, "hello")
			a.send(x)
			o.wantReceived(x)
			y := o.packet4(a, "hello")
			o.send(y)
			a.wantReceived(y)
		}
		const more = maxWaiting + 4
		passes := make(chan struct{})
		defer close(passes)
		a.tun.FailWrites(func(packet []byte) error {
			if from, _ := flowOf(packet); from.Addr() == b.inner4 {
				<-passes
			}
			return nil
		})
		six := func(h *host) netip.AddrPort { return netip.AddrPortFrom(h.net.Addrs()[1], h.outer.Port()) }
		l.inject(b.outer, a.outer, 0, b.sealed(a, b.flow(a, 1, 0)))
		synctest.Wait()
		for n := range uint32(more) {
			l.inject(six(b), six(a), 0, b.sealed(a, b.flow(a, 2, n)))
			synctest.Wait()
		}
		x := c.packet4(a, "mine")
		c.send(x)
		for range 1 + maxWaiting {
			passes <- struct{}{}
			synctest.Wait()
		}
		var mine bool
		for _, packet := range a.received() {
			from, _ := flowOf(packet)
			mine = mine || from.Addr() == c.inner4
		}
		if !mine {
			t.Error("the reader of c's socket delivers for b only")
		}
	})
}

// While staged packets have not all got their places on the wire, a reader finds
// them waiting, so that what came later goes later.
func TestStagedGoFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		to, early := p.a.peer(p.b), 0
		p.lan.setFate(func(d *datagram) {
			if noise.Classify(d.data) == noise.TypeTransport && d.from == p.a.outer && !to.stage.waiting() {
				early++
			}
		})
		p.a.send(p.a.packet4(p.b, "one"))
		p.a.send(p.a.packet4(p.b, "two"))
		if n := len(p.b.received()); n != 2 {
			t.Fatalf("%d packets arrived", n)
		}
		if early != 0 {
			t.Errorf("%d were on their way and nothing was said to wait", early)
		}
	})
}
