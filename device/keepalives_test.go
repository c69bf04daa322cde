package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/device/session"
	"culvert/internal/aead"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
	"culvert/tun/tuntest"
)

// hub is a with n other hosts for peers, a session with each, and a persistent
// keepalive of 25 s without jitter: all are due in the same tick.
func hub(t *testing.T, l *lan, n int) (a *host, others []*host) {
	a = newHost(t, l, 1, Options{Workers: -1})
	a.d.do(func() { a.d.session.Jitter = func() time.Duration { return 0 } })
	u := &config.Update{}
	for i := range n {
		o := newHost(t, l, byte(2+i), Options{Workers: -1})
		o.knows(a)
		section := peerOf(o)
		section.HasPersistentKeepalive, section.PersistentKeepalive = true, 25
		others, u.Peers = append(others, o), append(u.Peers, section)
	}
	a.configure(u)
	sleep(time.Second) // shake hands
	return a, others
}

// Keepalives that are due in the same tick go to the network together, as many as
// fit in a call, and each arrives where it belongs.
func TestKeepalivesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		const peers = keepaliveBatch + 6
		a, others := hub(t, l, peers)
		rx := func(o *host) uint64 { return o.peer(a).rx.Load() }
		before := make([]uint64, peers)
		for i, o := range others {
			before[i] = rx(o)
		}
		tx := a.peer(others[0]).tx.Load()
		for range 3 {
			l.reset()
			calls := a.net.calls.Load()
			sleep(25*time.Second + grain)
			if got := a.net.calls.Load() - calls; got != 2 {
				t.Errorf("%d keepalives in %d calls, not in 2", peers, got)
			}
			for i, d := range l.reset() {
				if len(d.data) != noise.KeepaliveSize || d.from != a.outer || d.tos != 0 {
					t.Fatalf("datagram %d is of %d bytes from %v, with traffic class %d", i, len(d.data), d.from, d.tos)
				}
			}
		}
		for i, o := range others {
			if got := rx(o) - before[i]; got != 3*noise.KeepaliveSize {
				t.Errorf("%s received %d bytes", o.name, got)
			}
			o.wantDrops(nil)
		}
		a.wantDrops(nil)
		if got := a.peer(others[0]).tx.Load() - tx; got != 3*noise.KeepaliveSize {
			t.Errorf("%d bytes are counted as sent", got)
		}
	})
}

// What cannot be sent to one peer does not keep that of another, and is counted.
func TestKeepalivesFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		a, others := hub(t, l, 3)
		l.setFate(func(d *datagram) {
			if d.to == others[1].outer {
				d.err = syscall.EPERM
			}
		})
		var tx [3]uint64
		for i, o := range others {
			tx[i] = a.peer(o).tx.Load()
		}
		sleep(25*time.Second + grain)
		for i, want := range []uint64{noise.KeepaliveSize, 0, noise.KeepaliveSize} {
			if got := a.peer(others[i]).tx.Load() - tx[i]; got != want {
				t.Errorf("%d bytes sent to %s, not %d", got, others[i].name, want)
			}
		}
		a.wantDrops(map[Reason]uint64{DropSendError: 1})
	})
}

// A source that is lost is forgotten, of that peer only.
func TestKeepaliveForgetsLostSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		a, others := hub(t, l, 2)
		source := func(i int) netip.Addr { return a.peer(others[i]).endpoint.Load().Local }
		if source(0) != a.outer.Addr() || source(1) != a.outer.Addr() {
			t.Fatalf("sources %v and %v", source(0), source(1))
		}
		a.d.do(func() { // as if it had come to another address, which is gone
			p := a.peer(others[0])
			p.endpoint.Store(&conn.Endpoint{Remote: p.endpoint.Load().Remote, Local: netip.MustParseAddr("192.0.2.250")})
		})
		sleep(25*time.Second + grain)
		if source(0).IsValid() || source(1) != a.outer.Addr() {
			t.Errorf("sources %v and %v", source(0), source(1))
		}
	})
}

// What is pushed for a peer while its keepalive waits for the others goes after it,
// and a keepalive goes after what is just being sent; each can be opened.
func TestKeepaliveKeepsOrder(t *testing.T) {
	r := newRig(t, 2, Options{Workers: -1})
	c, p, q := r.d.controller, r.peers[0], r.peers[1]
	var mu sync.Mutex
	counters := map[netip.AddrPort][]uint64{}
	r.d.do(func() {
		r.net.seen = func(runs []conn.Run) {
			mu.Lock()
			defer mu.Unlock()
			for _, run := range runs {
				rp, counter := r.peers[run.To.Remote.Addr().As4()[3]], binary.LittleEndian.Uint64(run.Data[8:])
				if !rp.remote.Recv.Open(bytes.Clone(run.Data[noise.TransportHeaderSize:]), counter) || noise.Receiver(run.Data) != rp.key.keys.RemoteIndex {
					t.Errorf("message %d to %v cannot be opened", counter, run.To.Remote)
				}
				counters[run.To.Remote] = append(counters[run.To.Remote], counter)
			}
		}
		if !q.p.out.enter() { // somebody is sending to q
			t.Error("q has a sender")
		}
		c.sendKeepalive(p.p, session.PersistentKeepalive)
		c.sendKeepalive(q.p, session.PersistentKeepalive)
		c.sendKeepalive(p.p, session.PassiveKeepalive)
		if n := r.net.calls.Load(); n != 0 {
			t.Errorf("%d calls before the end of the turn", n)
		}
		c.flushKeepalives()
		if n := r.net.calls.Load(); n == 0 {
			t.Error("nothing is sent at the end of the turn")
		}
		r.d.endTerm(q.p, 0)
	})
	r.d.runners.Wait()
	if got := fmt.Sprint(counters[p.outer], counters[q.outer]); got != "[0 1] [0]" {
		t.Errorf("messages %s were sent", got)
	}
	for _, rp := range r.peers {
		if !rp.p.out.enter() {
			t.Error("a peer still has a sender")
		}
	}
}

// silent is a device with n peers that have a session and are silent, but for a
// persistent keepalive of 1 s. Only the test's goroutine moves it, in do.
type silent struct {
	d   *Device
	c   *controller
	n   int
	now clock.Time // the device's own clock stands still
	// generation makes indices that were not used before.
	generation uint32
}

func newSilent(tb testing.TB, network conn.Network, to netip.AddrPort, n int) *silent {
	d, err := New(tuntest.NewUp(1420), network, Options{Clock: stoppedClock{}, Workers: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	for d.sockets.Load() == nil {
		runtime.Gosched()
	}
	u := &config.Update{}
	for i := range n {
		u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: config.PublicKey{byte(i), byte(i >> 8), 1}, Endpoint: to})
	}
	if err := d.Configure(u); err != nil {
		tb.Fatal(err)
	}
	s := &silent{d: d, c: d.controller, n: n}
	d.do(func() {
		s.now = d.clock.Now()
		s.connect(0)
		var out session.Actions
		for p := range s.c.peers.all {
			p.machine.SetPersistentKeepalive(s.c.now, time.Second, true, &out)
			s.c.settle(p)
		}
	})
	return s
}

// connect gives every peer a new session, after d.
func (s *silent) connect(d time.Duration) {
	s.now = s.now.Add(d)
	s.c.now = s.now
	s.generation++
	i := uint32(0)
	for p := range s.c.peers.all {
		i++
		local := s.generation<<16 | i
		keys := &noise.Keypair{LocalIndex: local, RemoteIndex: local, Send: aead.New(new([32]byte)), Recv: aead.New(new([32]byte)), Initiator: true}
		p.machine.NeedKeys(s.c.now, session.ConfigChanged, &session.Actions{})
		p.machine.Initiated(s.c.now, local, &session.Actions{})
		var out session.Actions
		if err := p.machine.Response(s.c.now, local, keys, &out); err != nil {
			panic(err)
		}
		s.c.perform(p, &out, nil)
	}
	s.c.flushKeepalives()
}

// round goes on by a second and a jitter: every keepalive is due.
func (s *silent) round() {
	s.now = s.now.Add(time.Second + time.Second/32 + grain)
	s.c.now = s.now
	s.c.wheel.Expire(s.c.now, s.c.fire)
	s.c.flushKeepalives()
}

// A keepalive allocates nothing, and there is one call for keepaliveBatch of them.
func TestKeepalivesDoNotAllocate(t *testing.T) {
	const peers, rounds = 1000, 20
	net := &sinkNet{}
	s := newSilent(t, net, nowhere, peers)
	s.d.do(func() {
		calls, runs := net.calls.Load(), net.runs.Load()
		if n := testing.AllocsPerRun(rounds, s.round); n != 0 {
			t.Errorf("%v allocations for %d keepalives", n, peers)
		}
		calls, runs = net.calls.Load()-calls, net.runs.Load()-runs
		const each = (peers + keepaliveBatch - 1) / keepaliveBatch
		if runs != peers*(rounds+1) || calls != each*(rounds+1) {
			t.Errorf("%d keepalives in %d calls, not %d in %d", runs, calls, peers*(rounds+1), each*(rounds+1))
		}
	})
	if n := s.d.outPool.inUse(); n > 1 { // the reader's spare
		t.Errorf("%d arenas are in use", n)
	}
}

// BenchmarkKeepalives is an expiry with the keepalives of 10,000 peers due: wheel,
// session machine, seal, network. The network is one that does nothing, or the
// system's, to a socket that nobody reads.
func BenchmarkKeepalives(b *testing.B) {
	const peers = 10_000
	system := conn.System(conn.Options{})
	sink, err := system.Listen(0, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	loopback := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), sink.Port())
	for _, network := range []struct {
		name string
		conn.Network
	}{{"nothing", &sinkNet{}}, {"system", system}} {
		s := newSilent(b, network.Network, loopback, peers)
		for _, together := range []int{1, keepaliveBatch} {
			b.Run(fmt.Sprintf("%s/%d", network.name, together), func(b *testing.B) {
				b.ReportAllocs()
				s.d.do(func() {
					s.c.keepalives.most = together
					for n := 0; b.Loop(); n++ {
						if n%90 == 0 { // before keys want renewing
							b.StopTimer()
							s.connect(timers.RekeyTimeout)
							b.StartTimer()
						}
						s.round()
					}
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*peers), "ns/keepalive")
			})
		}
	}
}

// Peers whose keepalives went at different times come to send them together, at multiples of
// a slot, and none is early or later than its jitter may make it.
func TestKeepalivesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		const peers = 20
		a, others := hub(t, l, peers)
		seeded := mathrand.New(mathrand.NewPCG(1, 2))
		drawn := func() time.Duration { return time.Duration(seeded.Int64N(int64(timers.MaxJitter))) }
		a.d.do(func() { // many more come due, but never at once
			a.d.session.Jitter, a.d.controller.together = drawn, 2*peers
		})
		last := map[netip.AddrPort]time.Time{}
		for _, o := range others {
			for _, interval := range []uint16{0, 25} { // one goes now
				u := config.PeerUpdate{PublicKey: o.public, HasPersistentKeepalive: true, PersistentKeepalive: interval}
				a.configure(&config.Update{Peers: []config.PeerUpdate{u}})
			}
			last[o.outer] = time.Now()
			sleep(100 * time.Millisecond)
		}
		for range 2 {
			l.reset()
			sleep(25*time.Second + peers*100*time.Millisecond)
			ticks, seen := map[int64]int{}, map[netip.AddrPort]bool{}
			for _, d := range l.reset() {
				if d.from != a.outer {
					continue
				}
				if since := d.at.Sub(last[d.to]); since < 25*time.Second || since > 25*time.Second+25*time.Second/32+grain {
					t.Errorf("a keepalive %v after the last one", since)
				}
				last[d.to], seen[d.to] = d.at, true
				ticks[d.at.UnixNano()]++
			}
			if most := int(peers*100*time.Millisecond/dueSlot) + 2; len(seen) < peers || len(ticks) > most {
				t.Errorf("%d peers had a keepalive, at %d times, want at most %d", len(seen), len(ticks), most)
			}
		}
	})
}
