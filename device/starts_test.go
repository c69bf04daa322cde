package device

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/noise"
	"culvert/noise/noisetest"
	"culvert/timers"
)

// answerless is n peers that do not answer, each at a port of its own from 2000 on, with a
// persistent keepalive, and the first with an allowed address.
func answerless(n int) *config.Update {
	r, u := noisetest.Rand(7), &config.Update{}
	for i := range n {
		u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: config.PublicKey(noisetest.Key(r)),
			Endpoint:               netip.AddrPortFrom(nowhere.Addr(), uint16(2000+i)),
			HasPersistentKeepalive: true, PersistentKeepalive: 25})
	}
	u.Peers[n-1].AllowedIPs = prefixes("10.0.0.2/32")
	return u
}

// pacedHost is a host that may begin startsPerTick handshakes in a tick, however many
// cores there are.
func pacedHost(t *testing.T, l *lan) *host {
	h := newHost(t, l, 1, Options{Workers: -1})
	h.d.do(func() { h.d.handshakeWorkers = 1 })
	return h
}

// wantCalm fails the test if there were more than startsPerTick datagrams in a tick
// since start, and tells how many went to each port.
func wantCalm(t *testing.T, log []datagram, start time.Time) map[uint16]int {
	t.Helper()
	ticks, ports := map[time.Duration]int{}, map[uint16]int{}
	for _, d := range log {
		if noise.Classify(d.data) != noise.TypeInitiation {
			t.Fatalf("a datagram of type %v", noise.Classify(d.data))
		}
		ticks[d.at.Sub(start)/grain]++
		ports[d.to.Port()]++
	}
	for tick, n := range ticks {
		if n > startsPerTick {
			t.Errorf("%d initiations in tick %d", n, tick)
		}
	}
	return ports
}

// A thousand peers that get a persistent keepalive at once begin one after the other,
// each once and none in vain; a packet does not wait for them.
func TestManyBeginCalmly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, ticks = 1000, (1000 + startsPerTick - 1) / startsPerTick
		l := newLAN(t)
		a := pacedHost(t, l)
		start := time.Now()
		a.configure(answerless(peers))
		synctest.Wait()
		first := l.reset()
		if n := len(first); n != startsPerTick {
			t.Errorf("%d initiations at once, not %d", n, startsPerTick)
		}
		a.send(a.packet4(&host{inner4: netip.MustParseAddr("10.0.0.2")}, "urgent"))
		synctest.Wait()
		if log := l.reset(); len(log) != 1 || log[0].to.Port() != 2000+peers-1 {
			t.Errorf("%d datagrams because of a packet", len(log))
		}
		sleep((ticks - 1) * grain)
		ports := wantCalm(t, append(first, l.reset()...), start)
		if len(ports) != peers-1 {
			t.Errorf("%d peers were tried in %d ticks", len(ports), ticks)
		}
		for port, n := range ports {
			if n != 1 {
				t.Errorf("port %d was sent %d initiations", port, n)
			}
		}
		// What is not answered is tried again, and no more of it at once.
		sleep(6 * time.Second)
		if ports := wantCalm(t, l.reset(), start); len(ports) != peers {
			t.Errorf("%d peers were tried again", len(ports))
		}
		a.wantDrops(nil)
		a.d.do(func() {
			if s := a.d.controller.starts; s.calm.items != nil || s.urgent.items != nil {
				t.Error("the queues keep memory")
			}
		})
	})
}

// Nothing is begun for peers that were removed while they waited, or when the
// interface went down; when it is up again all wait again, once.
func TestWhoWaitsMayGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 2*startsPerTick + 100
		l := newLAN(t)
		a := pacedHost(t, l)
		u := answerless(peers)
		a.configure(u)
		synctest.Wait()
		if n := len(l.reset()); n != startsPerTick {
			t.Fatalf("%d initiations at once", n)
		}
		a.tun.Down()
		sleep(time.Second)
		if n := len(l.reset()); n != 0 {
			t.Fatalf("%d initiations while the interface is down", n)
		}
		built := 0
		a.d.do(func() {
			for p := range a.d.controller.peers.all {
				if p.machine.LastStamp() != (noise.Timestamp{}) {
					built++
				}
			}
		})
		if built != startsPerTick {
			t.Errorf("%d initiations were built, also for nobody", built-startsPerTick)
		}
		start := time.Now()
		a.tun.Up()
		synctest.Wait()
		gone := &config.Update{}
		for _, p := range u.Peers[startsPerTick : startsPerTick+50] {
			gone.Peers = append(gone.Peers, config.PeerUpdate{PublicKey: p.PublicKey, Remove: true})
		}
		a.configure(gone)
		sleep(4 * time.Second)
		ports := wantCalm(t, l.reset(), start)
		if len(ports) != peers-50 {
			t.Errorf("%d peers were tried, not %d", len(ports), peers-50)
		}
		for port, n := range ports {
			if n != 1 {
				t.Errorf("port %d was sent %d initiations", port, n)
			}
		}
	})
}

// The job of a peer that was removed makes room for another one, and the controller
// hears of it: nothing else might wake it.
func TestRemovedPeersMakeRoom(t *testing.T) {
	d := &Device{events: make(chan event, 1), closing: make(chan struct{})}
	p := &peer{}
	p.removed.Store(true)
	w := &shaker{d: d}
	w.build(hsJob{peer: p})
	if w.n != 0 || len(d.events) != 1 {
		t.Error("the controller hears nothing")
	}
}

// Peers that send their keepalives in the same tick do not do so for ever, where they
// are too many.
func TestPersistentKeepalivesPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 40
		l := newLAN(t)
		a, _ := hub(t, l, peers)
		seeded := rand.New(rand.NewPCG(1, 2))
		drawn := func() time.Duration { return time.Duration(seeded.Int64N(int64(timers.MaxJitter))) }
		a.d.do(func() { a.d.session.Jitter, a.d.controller.together = drawn, peers/4 })
		sleep(60 * time.Second) // from the first of these on jitter is drawn
		l.reset()
		sleep(25 * time.Second)
		ticks := map[time.Duration]int{}
		var first time.Time
		for _, d := range l.reset() {
			if len(d.data) != noise.KeepaliveSize || d.from != a.outer {
				continue
			}
			if first.IsZero() {
				first = d.at
			}
			ticks[d.at.Sub(first)/time.Duration(timers.Tick)]++
		}
		for tick, n := range ticks {
			if n > peers*3/4 {
				t.Errorf("%d of %d keepalives in tick %d", n, peers, tick)
			}
		}
		if len(ticks) == 0 {
			t.Error("no keepalives")
		}
	})
}

// A queue that never runs dry does not grow.
func TestPeerQueueStaysSmall(t *testing.T) {
	var q peerQueue
	peers := []*peer{{}, {}, {}}
	q.push(peers[0])
	for i := range 10_000 {
		q.push(peers[(i+1)%3])
		if q.pop() != peers[i%3] {
			t.Fatal("out of order")
		}
	}
	if q.len() != 1 || cap(q.items) > 16 {
		t.Errorf("%d wait in %d places", q.len(), cap(q.items))
	}
}
