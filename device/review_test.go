package device

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/conn/conntest"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// gated is sockets whose Send waits for open, as a network does whose send
// buffer is full.
type gated struct {
	conn.Sockets
	open chan struct{} // one element lets one Send go; closed: all
}

func (g *gated) Send(runs []conn.Run) {
	<-g.open
	g.Sockets.Send(runs)
}

// gate puts a gate in front of h's sockets.
func (h *host) gate() *gated {
	g := &gated{Sockets: *h.d.sockets.Load(), open: make(chan struct{})}
	var s conn.Sockets = g
	h.d.sockets.Store(&s)
	return g
}

// busyController makes the controller the peer's sender: it sends a keepalive, and the
// network does not take it yet.
func (p *pair) busyController() *gated {
	g := p.a.gate()
	go p.a.d.Configure(&config.Update{Peers: []config.PeerUpdate{{
		PublicKey: p.b.public, HasPersistentKeepalive: true, PersistentKeepalive: 25}}})
	synctest.Wait()
	return g
}

// The controller sends its own message, and never becomes the sender of what a
// reader goes on to push: all other peers would wait.
func TestControllerIsNotTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1})
		p.connect()
		g := p.busyController()
		packet := p.a.packet4(p.b, "x")
		p.a.send(packet)
		synctest.Wait()
		g.open <- struct{}{} // the keepalive goes
		synctest.Wait()
		var answered atomic.Bool
		go func() {
			p.a.status(p.b)
			answered.Store(true)
		}()
		synctest.Wait()
		if !answered.Load() {
			t.Error("the controller waits for the network to take a reader's packets")
		}
		close(g.open)
		p.b.wantReceived(packet)
	})
}

// While another goroutine is a peer's sender, its reader goes on to seal, but
// only so far: the queue is bounded, nothing is lost and the order stays.
func TestQueueOfASlowSenderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1})
		p.connect()
		g := p.busyController()
		var want [][]byte
		for i := range 4 * maxWaiting {
			want = append(want, p.a.packet4(p.b, fmt.Sprint(i)))
			p.a.send(want[i])
			synctest.Wait()
			if n := p.a.peer(p.b).out.waiting(); n > maxWaiting {
				t.Fatalf("%d batches wait for the sender", n)
			}
		}
		close(g.open)
		p.b.wantReceived(want...)
		p.a.wantDrops(nil)
	})
}

// The other side's first packet on a session that was never confirmed, and that a
// session of ours has replaced since, does not make the old key the send key again:
// it dies first, and the session machine would take what waits then for sent.
func TestReplacedSessionIsNotPromoted(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		lossy := func(from *host) func(*datagram) {
			return func(d *datagram) {
				d.lost = from.net.has(d.from.Addr()) && noise.Classify(d.data) == noise.TypeTransport
			}
		}
		p.lan.setFate(lossy(p.b)) // a never hears of the session that b began
		p.b.send(p.b.packet4(p.a, "lost"))
		sleep(6 * time.Second)
		p.lan.setFate(lossy(p.a)) // b never hears of the one that a began
		p.a.send(p.a.packet4(p.b, "lost"))
		synctest.Wait()
		current := p.a.peer(p.b).sendKey.Load()
		if current == nil || !current.keys.Initiator {
			t.Fatal("a's session did not come about")
		}
		x := p.b.packet4(p.a, "on the first session")
		p.b.send(x)
		p.a.wantReceived(x)
		if p.a.peer(p.b).sendKey.Load() != current {
			t.Error("a sends on the session that its own has replaced")
		}
	})
}

// Batches kept for use again do not starve the other direction: with the least
// budget there is, sockets that were replaced leave more receive batches than
// they need.
func TestKeptMemoryStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1, Budget: 8 << 20})
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 51999})
		synctest.Wait()
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		p.a.wantDrops(nil)
	})
}

// However much the controller wants built (for thousands of peers that do not
// answer), messages of others get their turn.
func TestHandshakesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Device{log: slog.New(slog.DiscardHandler), clock: clock.Virtual(), closing: make(chan struct{}),
			jobs: make(chan hsJob, 3), handshakes: make(chan *hsMessage, 1), events: make(chan event)}
		for range cap(d.jobs) {
			d.jobs <- hsJob{peer: &peer{}}
		}
		d.handshakes <- &hsMessage{kind: noise.TypeCookieReply, n: noise.CookieReplySize, source: new(source)}
		d.workers.Add(1)
		go d.runHandshakes()
		for range 2 {
			<-d.events
			synctest.Wait()
		}
		if d.drops.load(DropBadCookie) != 1 {
			t.Error("after two of ours the other one still waits")
		}
		close(d.closing)
	})
}

// brokenReader is an interface whose queue fails.
type brokenReader struct {
	*tuntest.TUN
	tun.Reader
}

func (b brokenReader) Readers() []tun.Reader  { return []tun.Reader{b} }
func (b brokenReader) Read(*tun.Packet) error { return syscall.EIO }

// An interface that cannot be read any more ends the device's usefulness, and
// whoever owns it hears of that.
func TestBrokenInterfaceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(brokenReader{TUN: tuntest.NewUp(1420)}, conntest.NewNetwork(1).Host(netip.MustParseAddr("192.0.2.1")), Options{Clock: clock.Virtual()})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		synctest.Wait()
		select {
		case <-d.Done():
		default:
			t.Error("nobody hears of it")
		}
	})
}

// What was to be built for a peer that is gone costs nothing any more.
func TestNothingIsBuiltForRemovedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		gone := p.a.peer(p.b)
		p.a.configure(&config.Update{ReplacePeers: true})
		answer := &noise.OpenedInitiation{Static: p.b.public}
		before := gone.remote.Load()
		p.a.d.jobs <- hsJob{peer: gone}
		p.a.d.jobs <- hsJob{peer: gone, answer: answer}
		synctest.Wait()
		if gone.remote.Load() != before || p.a.d.index.len() != 0 {
			t.Error("a handshake was built for it")
		}
	})
}
