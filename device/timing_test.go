package device

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn/conntest"
	"culvert/device/config"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// grain is how late a timer may be.
const grain = time.Duration(timers.Tick)

// lossOf loses what matches.
func lossOf(match func(*datagram) bool) func(*datagram) {
	return func(d *datagram) { d.lost = match(d) }
}

func everything(*datagram) bool { return true }

// fromHost matches what h sends.
func fromHost(h *host) func(*datagram) bool {
	return func(d *datagram) bool { return h.net.has(d.from.Addr()) }
}

// after waits for the next datagram, at most for limit, and says how long that
// took. It and what else was sent with it stay in the log.
func (p *pair) after(limit time.Duration) time.Duration {
	p.a.t.Helper()
	start := time.Now()
	for time.Since(start) < limit {
		synctest.Wait()
		p.lan.mu.Lock()
		n := len(p.lan.log)
		p.lan.mu.Unlock()
		if n > 0 {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	p.a.t.Fatalf("nothing was sent within %v", limit)
	return 0
}

func wantWithin(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s after %v, not %v to %v", what, got, low, high)
	}
}

// The first packets wait for the handshake and go in order, before anything
// else and instead of a keepalive.
func TestFirstPacketsShakeHands(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.SetDefaultLink(conntest.Link{Delay: 10 * time.Millisecond})
		x, y, z := p.a.packet4(p.b, "one"), p.a.packet6(p.b, "two"), p.a.packet4(p.b, "three")
		p.a.send(x)
		p.a.send(y)
		sleep(time.Millisecond)
		p.a.send(z)
		sleep(time.Second)
		p.b.wantReceived(x, y, z)
		p.want("a>b initiation, b>a response, a>b data 64, a>b data 96, a>b data 80")
		if got := p.a.status(p.b).LastHandshake; time.Since(got) > time.Second || time.Since(got) < 0 {
			t.Errorf("last handshake at %v", got)
		}
	})
}

// Of the packets that wait for a handshake the last 128 stay.
func TestStagedPacketsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.setFate(lossOf(everything))
		var all [][]byte
		for i := range maxStaged + 5 {
			all = append(all, p.a.packet4(p.b, fmt.Sprint("packet ", i)))
			p.a.send(all[i])
		}
		synctest.Wait()
		p.a.wantDrops(map[Reason]uint64{DropStageFull: 5})
		p.lan.setFate(nil)
		sleep(6 * time.Second)
		p.b.wantReceived(all[5:]...)
	})
}

// Twenty initiations, 5 s and a jitter apart; then what waits is dropped and
// there is silence, until somebody wants something.
func TestHandshakeRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "anybody?"))
		sleep(11 * time.Minute) // T4 is part of it
		log := p.lan.reset()
		var stamps []string
		for i, d := range log {
			if noise.Classify(d.data) != noise.TypeInitiation {
				t.Fatalf("datagram %d is of type %v", i, noise.Classify(d.data))
			}
			stamps = append(stamps, string(d.data[8:40]))
			if i > 0 {
				wantWithin(t, "next initiation", d.at.Sub(log[i-1].at), timers.RekeyTimeout, timers.RekeyTimeout+timers.MaxJitter+grain)
				if stamps[i] == stamps[i-1] {
					t.Error("an initiation was repeated, not made anew")
				}
			}
		}
		if len(log) != 20 {
			t.Errorf("%d initiations, not 20", len(log))
		}
		p.a.wantDrops(map[Reason]uint64{DropNoSession: 1})
		if n := p.a.d.index.len(); n != 0 {
			t.Errorf("%d indices in use long after giving up", n)
		}
		p.a.send(p.a.packet4(p.b, "still nobody?"))
		p.want("a>b initiation")
	})
}

// New traffic begins the count of attempts anew, but not a handshake.
func TestNewTrafficProlongsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "anybody?"))
		sleep(49 * time.Second)
		if n := len(p.lan.reset()); n != 10 {
			t.Fatalf("%d initiations in 49 s", n)
		}
		p.a.send(p.a.packet4(p.b, "really?"))
		sleep(10 * time.Minute)
		if n := len(p.lan.reset()); n != 19 { // the running one counts as the first
			t.Errorf("%d more initiations, not 19", n)
		}
	})
}

// With traffic, the initiator renews the keys every 120 s and a jitter, and no packet is lost
// or late.
func TestRekeyWithoutLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		start := time.Now()
		for i := range 4000 {
			x, y := p.a.packet4(p.b, fmt.Sprint("a", i)), p.b.packet6(p.a, fmt.Sprint("b", i))
			p.a.send(x)
			p.b.send(y)
			p.b.wantReceived(x)
			p.a.wantReceived(y)
			sleep(100 * time.Millisecond)
		}
		var at []time.Duration
		keepalives := 0
		for _, d := range p.lan.reset() {
			switch noise.Classify(d.data) {
			case noise.TypeInitiation:
				at = append(at, d.at.Sub(start))
				if !p.a.net.has(d.from.Addr()) {
					t.Errorf("the responder initiates")
				}
			case noise.TypeTransport:
				if len(d.data) == noise.KeepaliveSize {
					keepalives++
				}
			}
		}
		if len(at) != 3 || keepalives != 3 { // the keepalive confirms
			t.Fatalf("initiations after %v, %d keepalives", at, keepalives)
		}
		for i := range at {
			last := time.Duration(0)
			if i > 0 {
				last = at[i-1]
			}
			wantWithin(t, "initiation", at[i]-last, timers.RekeyAfterTime, timers.RekeyAfterTime+timers.MaxRekeyJitter+200*time.Millisecond)
		}
		p.a.wantDrops(nil)
		p.b.wantDrops(nil)
	})
}

// An initiator that only receives renews the keys at 165 s.
func TestRekeyOnReceive(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(11 * time.Second) // a acknowledges
		p.want("a>b keepalive")
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, HasPersistentKeepalive: true, PersistentKeepalive: 8}}})
		start := time.Now().Add(-11 * time.Second)
		sleep(3 * time.Minute)
		log, i := p.lan.reset(), 0
		for noise.Classify(log[i].data) == noise.TypeTransport {
			if i++; log[i-1].from != p.b.outer {
				t.Fatal("a has sent something")
			}
		}
		wantWithin(t, "initiation", log[i].at.Sub(start), timers.RekeyOnReceiveAfter, timers.RekeyOnReceiveAfter+8*time.Second+2*grain)
		if log[i].from != p.a.outer || !log[i].at.Equal(log[i-1].at) {
			t.Error("it was not what came that made a initiate")
		}
	})
}

// A rekey from where the peer is leaves its endpoint alone, on both sides: that its source is good
// was looked up, and need not be again.
func TestRekeyKeepsEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		a, b := p.a.peer(p.b).endpoint.Load(), p.b.peer(p.a).endpoint.Load()
		sleep(200 * time.Second)
		p.a.send(p.a.packet4(p.b, "x"))
		p.want("a>b keepalive, a>b initiation, b>a response, a>b data 64")
		if p.a.peer(p.b).endpoint.Load() != a || p.b.peer(p.a).endpoint.Load() != b {
			t.Error("the endpoint is another one")
		}
	})
}

// Data received is acknowledged after 10 s, by one keepalive, or two if more
// data came before the first. A keepalive is never answered.
func TestPassiveKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(time.Minute)
		p.lan.reset()
		p.a.send(p.a.packet4(p.b, "one"))
		p.want("a>b data 64")
		wantWithin(t, "keepalive", p.after(time.Minute), timers.KeepaliveTimeout, timers.KeepaliveTimeout+grain)
		p.want("b>a keepalive")
		sleep(time.Minute / 2)
		p.want("")

		p.a.send(p.a.packet4(p.b, "two"))
		sleep(4 * time.Second)
		p.a.send(p.a.packet4(p.b, "three"))
		p.want("a>b data 64, a>b data 80")
		wantWithin(t, "keepalive", p.after(time.Minute), 6*time.Second, 6*time.Second+grain)
		p.want("b>a keepalive")
		wantWithin(t, "second keepalive", p.after(time.Minute), timers.KeepaliveTimeout, timers.KeepaliveTimeout+2*grain)
		p.want("b>a keepalive")
		sleep(time.Minute / 2)
		p.want("")
	})
}

// Data sent acknowledges what was received.
func TestDataMakesKeepaliveUnneeded(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(30 * time.Second)
		p.lan.reset()
		for range 5 {
			p.a.send(p.a.packet4(p.b, "?"))
			sleep(9 * time.Second)
			p.b.send(p.b.packet4(p.a, "!"))
			sleep(time.Second)
			p.want("a>b data 64, b>a data 64")
		}
	})
}

// Data unanswered for 15 s and a jitter: the session is taken for dead, and with
// it the address we sent from.
func TestNewHandshakeWithoutReply(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(30 * time.Second)
		p.lan.reset()
		p.lan.setFate(lossOf(fromHost(p.b)))
		p.a.send(p.a.packet4(p.b, "hello?"))
		p.want("a>b data 80")
		sleep(7 * time.Second)
		p.a.send(p.a.packet4(p.b, "hello?")) // does not put it off
		p.want("a>b data 80")
		sleep(3100 * time.Millisecond)
		p.want("b>a keepalive") // lost
		wantWithin(t, "initiation", p.after(time.Minute)+10100*time.Millisecond, timers.NewHandshakeTimeout,
			timers.NewHandshakeTimeout+timers.MaxJitter+grain)
		p.want("a>b initiation, b>a response")
	})
}

// A dead key neither sends nor, seen from the other side, receives.
func TestKeyDeath(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(30 * time.Second)
		p.lan.reset()
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "late"))
		p.want("a>b data 64")
		p.lan.setFate(nil)
		late := p.a.packet4(p.b, "later")
		sleep(14 * time.Second)
		p.b.send(p.b.packet4(p.a, "no new handshake, please"))
		p.want("b>a data 96")
		sleep(timers.RejectAfterTime - 44*time.Second - grain)
		p.lan.reset()
		p.a.send(late)
		p.wantBeside("a>b data 80", "a>b initiation, b>a response, a>b keepalive") // one last time
		p.b.wantReceived(late)

		sleep(timers.RejectAfterTime + time.Second)
		p.lan.reset()
		p.b.send(p.b.packet4(p.a, "much later")) // the responder begins as well
		p.want("b>a initiation, a>b response, b>a data 80")
		sleep(timers.RejectAfterTime + time.Second)
		p.lan.reset()
		p.b.send(p.b.packet4(p.a, "again"))
		p.want("b>a initiation, a>b response, b>a data 80")
	})
}

// After 540 s without a new session nothing secret is left.
func TestZeroKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		k := p.a.peer(p.b).sendKey.Load()
		sleep(530 * time.Second)
		if p.a.d.index.len() == 0 || p.b.d.index.len() == 0 || k.refs.Load() != 1 {
			t.Error("keys are gone too early")
		}
		sleep(11 * time.Second)
		if p.a.d.index.len() != 0 || p.b.d.index.len() != 0 || k.refs.Load() != 0 {
			t.Error("keys are left after 540 s")
		}
	})
}

// A persistent keepalive goes at once, then whenever nothing was sent or
// received for the interval; after a dead key it brings a new session.
func TestPersistentKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		set := func(seconds uint16) {
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPersistentKeepalive: true, PersistentKeepalive: seconds}}})
		}
		const interval = 25 * time.Second
		const latest = interval + interval/32 + grain // its jitter, and the wheel's
		set(25)
		start := time.Now()
		p.want("a>b initiation, b>a response, a>b keepalive")
		for range 4 {
			wantWithin(t, "keepalive", p.after(time.Minute), interval, latest)
			p.want("a>b keepalive")
		}
		set(25) // changes nothing
		sleep(time.Until(start.Add(timers.RekeyAfterTime + timers.MaxRekeyJitter)))
		p.a.send(p.a.packet4(p.b, "data"))
		p.wantBeside("a>b data 64", "a>b initiation, b>a response, a>b keepalive")
		sleep(9 * time.Second)
		p.b.send(p.b.packet4(p.a, "data"))
		p.want("b>a data 64") // what was received puts it off; and acknowledges
		wantWithin(t, "passive keepalive", p.after(time.Minute), timers.KeepaliveTimeout, timers.KeepaliveTimeout+grain)
		p.want("a>b keepalive")
		wantWithin(t, "keepalive", p.after(time.Minute), interval, latest+grain)
		p.want("a>b keepalive")
		p.lan.setFate(lossOf(everything))
		sleep(4 * time.Minute)
		p.lan.reset()
		p.lan.setFate(nil)
		sleep(latest + 6*time.Second)
		if s := p.a.status(p.b); time.Since(s.LastHandshake) > time.Minute {
			t.Error("no new session after a silence")
		}
		p.lan.reset()
		set(0)
		sleep(5 * time.Minute)
		p.want("")
	})
}

// Both begin at once: both packets arrive within a round trip or two, and one
// session is left.
func TestSimultaneousInitiation(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.SetDefaultLink(conntest.Link{Delay: 20 * time.Millisecond})
		x, y := p.a.packet4(p.b, "from a"), p.b.packet4(p.a, "from b")
		p.a.send(x)
		p.b.send(y)
		sleep(90 * time.Millisecond)
		p.b.wantReceived(x)
		p.a.wantReceived(y)
		for range 100 { // and go on
			p.a.send(x)
			p.b.send(y)
			sleep(100 * time.Millisecond)
			p.b.wantReceived(x)
			p.a.wantReceived(y)
		}
		n := 0
		for _, d := range p.lan.reset() {
			if noise.Classify(d.data) == noise.TypeInitiation {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d initiations", n)
		}
		p.a.wantDrops(nil)
		p.b.wantDrops(nil)
	})
}

// The endpoint follows the peer, over both versions, and answers go there.
func TestRoaming(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		for i, addr := range []string{"192.0.2.77", "2001:db8::78", "192.0.2.79"} {
			four, six := netip.MustParseAddr(fmt.Sprint("192.0.2.", 77+i)), netip.MustParseAddr(fmt.Sprint("2001:db8::", 77+i))
			p.b.net.Move(four, six)
			if i == 1 { // over IPv6 b must be told where a is
				p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:51820")}}})
			} else if i == 2 {
				p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, Endpoint: p.a.outer}}})
			}
			x, y := p.b.packet4(p.a, "I moved"), p.a.packet4(p.b, "I see")
			p.b.send(x)
			p.a.wantReceived(x)
			if got := p.a.status(p.b).Endpoint; got != netip.AddrPortFrom(netip.MustParseAddr(addr), 51820) {
				t.Errorf("the endpoint is %v", got)
			}
			p.a.send(y)
			p.b.wantReceived(y)
		}
	})
}

// A replayed or forged datagram does not move the endpoint.
func TestForgeryDoesNotRoam(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		p.b.send(p.b.packet4(p.a, "genuine"))
		p.a.received()
		genuine := p.lan.reset()[0].data
		p.lan.inject(nowhere, p.a.outer, 0, genuine)
		forged := append([]byte(nil), genuine...)
		forged[8]++
		p.lan.inject(nowhere, p.a.outer, 0, forged)
		synctest.Wait()
		p.a.wantReceived()
		p.a.wantDrops(map[Reason]uint64{DropReplay: 1, DropBadTag: 1})
		if got := p.a.status(p.b).Endpoint; got != p.b.outer {
			t.Errorf("the endpoint is %v", got)
		}
	})
}

// Answers go from the address that was written to, also when GRO merged what
// came, until that address is gone or T3 gives it up.
func TestStickySource(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.SetGRO(true)
		second := netip.MustParseAddr("192.0.2.101")
		p.a.net.Move(p.a.outer.Addr(), second)
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, Endpoint: netip.AddrPortFrom(second, p.a.outer.Port())}}})
		from := func() netip.Addr {
			t.Helper()
			p.lan.reset()
			p.a.send(p.a.packet4(p.b, "hello"))
			synctest.Wait()
			return p.lan.reset()[0].from.Addr()
		}
		for range 5 {
			p.b.send(p.b.packet4(p.a, "hello"))
		}
		if p.a.received(); from() != second {
			t.Fatal("the source is not where b sent to")
		}
		p.a.net.Move(p.a.outer.Addr())
		if from() != p.a.outer.Addr() {
			t.Fatal("the source was not replaced by one that works")
		}
		p.a.net.Move(p.a.outer.Addr(), second)
		if from() != p.a.outer.Addr() {
			t.Fatal("the lost source was not forgotten")
		}
		if got := p.b.status(p.a).Endpoint; got != p.a.outer {
			t.Errorf("b has not followed: %v", got)
		}
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, Endpoint: netip.AddrPortFrom(second, p.a.outer.Port())}}})
		p.b.send(p.b.packet4(p.a, "hello"))
		if p.a.received(); from() != second {
			t.Fatal("the source does not follow b")
		}
		p.lan.setFate(lossOf(fromHost(p.b)))
		sleep(20 * time.Second)
		for _, d := range p.lan.reset() {
			if noise.Classify(d.data) == noise.TypeInitiation && d.from.Addr() != p.a.outer.Addr() {
				t.Error("T3 kept the source")
			}
		}
	})
}

// jumpingClock jumps when the machine was asleep or somebody set the wall clock.
type jumpingClock struct {
	clock.Clock
	boot, wall atomic.Int64
}

func (c *jumpingClock) Now() clock.Time { return c.Clock.Now().Add(time.Duration(c.boot.Load())) }
func (c *jumpingClock) Wall() time.Time { return c.Clock.Wall().Add(time.Duration(c.wall.Load())) }

// After a suspend nothing is sent with a key that died meanwhile, and the first
// packet brings a session at once.
func TestResume(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		c := &jumpingClock{Clock: clock.Virtual()}
		opts.Clock = c
		p := newPair(t, opts)
		p.connect()
		c.boot.Add(int64(time.Hour))
		p.want("")
		x := p.a.packet4(p.b, "good morning")
		p.a.send(x)
		p.want("a>b initiation, b>a response, a>b data 80")
		p.b.wantReceived(x)
		c.boot.Add(int64(1000 * time.Hour))
		sleep(time.Minute)
		p.want("")
	})
}

// A wall clock that goes back does not lock us out.
func TestWallClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &jumpingClock{Clock: clock.Virtual()}
		p := newPair(t, Options{Clock: c})
		for range 3 {
			x := p.a.packet4(p.b, "what time is it?")
			p.a.send(x)
			p.b.wantReceived(x)
			c.wall.Add(-int64(time.Hour))
			sleep(200 * time.Second)
		}
		p.b.wantDrops(nil)
	})
}

// Keys of the same second are not renewed in the same second, none before 120 s and
// all before 125 s.
func TestRekeyingIsSpread(t *testing.T) {
	const keys, born = 10_000, clock.Time(time.Hour)
	perSecond := map[time.Duration]int{}
	for range keys {
		k := newKeypair(nil, &noise.Keypair{Initiator: true}, born, jitter)
		age := k.renewSendAt.Sub(born)
		if why := k.wantsRenewal(k.renewSendAt-1, 0); age < timers.RekeyAfterTime || why != session.None {
			t.Fatalf("a key of %v is renewed: %v", age, why)
		}
		if why := k.wantsRenewal(born.Add(timers.RekeyAfterTime+timers.MaxRekeyJitter), 0); why != session.RekeySending {
			t.Fatalf("a key to be renewed at %v is not", age)
		}
		perSecond[age/time.Second]++
	}
	for second, n := range perSecond {
		if n > keys/4 {
			t.Errorf("%d of %d are renewed in second %d", n, keys, second)
		}
	}
}
