package device

import (
	"bytes"
	crand "crypto/rand"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/noise"
	"culvert/ratelimiter"
	"culvert/timers"
	"culvert/tun/tuntest"
)

// sealed is a transport message from h to o that holds plaintext, made with h's
// key behind its device's back.
func (h *host) sealed(o *host, plaintext []byte) []byte {
	k := h.peer(o).sendKey.Load()
	if !k.acquire() {
		h.t.Fatal("no key")
	}
	defer k.release()
	counter := k.next.Add(1) - 1
	b := make([]byte, noise.TransportHeaderSize+len(plaintext)+noise.TagSize)
	noise.PutTransportHeader(b, k.keys.RemoteIndex, counter)
	copy(b[noise.TransportHeaderSize:], plaintext)
	k.keys.Send.Seal(b[noise.TransportHeaderSize:], counter)
	return b
}

// forger makes handshake messages as whoever has key, without a device.
type forger struct {
	t    *testing.T
	h    *host // whose clock it reads
	id   *noise.Identity
	to   noise.Remote
	last noise.Timestamp
	jar  noise.CookieJar
}

func newForger(t *testing.T, as config.PrivateKey, to *host) *forger {
	t.Helper()
	id, err := noise.NewIdentity(&as)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t, h: to, id: id, to: noise.Remote{Static: to.public}}
	if f.to.Shared, err = id.StaticShared(to.public); err != nil {
		t.Fatal(err)
	}
	f.last = noise.NewTimestamp(time.Now())
	return f
}

// initiation is one with a newer timestamp than the last.
func (f *forger) initiation() []byte {
	f.t.Helper()
	f.last = f.last.Next()
	var msg [noise.InitiationSize]byte
	if _, err := noise.CreateInitiation(crand.Reader, f.id, &f.to, 7, f.last, &msg); err != nil {
		f.t.Fatal(err)
	}
	f.seal(msg[:])
	return msg[:]
}

func (f *forger) seal(msg []byte) { f.jar.Seal(f.h.d.clock.Now(), f.h.public, msg) }

// underLoad puts h under load for a second.
func (h *host) underLoad() {
	h.d.gate.mu.Lock()
	defer h.d.gate.mu.Unlock()
	h.d.gate.load.Note(h.d.clock.Now(), handshakeQueue, handshakeQueue)
}

// slowRand is randomness that can be made to block.
type slowRand struct{ gate atomic.Pointer[chan struct{}] }

func (r *slowRand) Read(b []byte) (int, error) {
	if gate := r.gate.Load(); gate != nil {
		<-*gate
	}
	return crand.Read(b)
}

// sendTo sends a packet of h to dst.
func (h *host) sendTo(dst string) []byte {
	x := tuntest.UDP(netip.AddrPortFrom(h.inner4, 1), netip.MustParseAddrPort(dst), []byte("x"))
	h.send(x)
	return x
}

// dropCases make a pair drop packets for each reason there is: who drops, and
// how many. A session is there unless the case needs none.
var dropCases = map[Reason]struct {
	fresh bool     // without a session
	also  []Reason // come with it
	opts  Options
	make  func(t *testing.T, p *pair) (who *host, count uint64)
}{
	DropNoPeer: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.sendTo("10.77.0.1:1")
		return p.a, 1
	}},
	DropNoEndpoint: {make: func(t *testing.T, p *pair) (*host, uint64) {
		c := config.PeerUpdate{PublicKey: config.PublicKey{9: 1}, AllowedIPs: []config.AllowedIP{{Prefix: netip.MustParsePrefix("10.9.0.0/16")}}}
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{c}})
		p.a.sendTo("10.9.1.1:1")
		return p.a, 1
	}},
	DropDown: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.tun.Down()
		synctest.Wait()
		p.a.net.fail(syscall.EADDRINUSE) // somebody took the port meanwhile
		p.a.tun.Up()
		synctest.Wait()
		p.a.send(p.a.packet4(p.b, "x"))
		time.Sleep(upPatience) // it waits that long for sockets
		synctest.Wait()
		return p.a, 1
	}},
	DropLoop: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, AllowedIPs: []config.AllowedIP{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}}}})
		p.a.send(tuntest.UDP(p.a.outer, p.b.outer, p.a.sealed(p.b, make([]byte, 64))))
		p.a.send(tuntest.UDP(netip.AddrPortFrom(p.a.outer.Addr(), 53), p.b.outer, []byte("this may go, it is no message of ours")))
		return p.a, 1
	}},
	DropStageFull: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.setFate(lossOf(everything))
		for range maxStaged + 3 {
			p.a.send(p.a.packet4(p.b, "x"))
		}
		return p.a, 3
	}},
	DropNoSession: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		p.a.send(p.a.packet4(p.b, "y"))
		sleep(2 * time.Minute)
		return p.a, 2
	}},
	DropBudget: {fresh: true, opts: Options{Budget: arenaSize - 1, anyBudget: true}, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.send(p.a.packet4(p.b, "staged, for there is room for that"))
		synctest.Wait()
		p.want("a>b initiation, b>a response")
		return p.a, 1
	}},
	DropKeySpent: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.peer(p.b).sendKey.Load().next.Store(timers.RejectAfterMessages - 1)
		src, dst := netip.AddrPortFrom(p.a.inner4, 80), netip.AddrPortFrom(p.b.inner4, 4000)
		p.a.tun.SendVirtio(tuntest.Super(tuntest.TCP(src, dst, tuntest.TCPHeader{}, make([]byte, 2000)), 1300, 0))
		return p.a, 2
	}},
	DropSendError: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.setFate(func(d *datagram) { d.err = syscall.EPERM })
		p.a.send(p.a.packet4(p.b, "x"))
		return p.a, 1
	}},
	DropMalformed: {make: func(t *testing.T, p *pair) (*host, uint64) {
		for _, n := range []int{0, 1, 31, 100, 147, 149} {
			p.lan.inject(nowhere, p.a.outer, 0, make([]byte, n))
		}
		initiation := newForger(t, p.b.key, p.a).initiation()
		initiation[1] = 1 // reserved
		p.lan.inject(nowhere, p.a.outer, 0, initiation)
		return p.a, 7
	}},
	DropBadMAC1: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.inject(nowhere, p.a.outer, 0, newForger(t, p.a.key, p.b).initiation())
		return p.a, 1
	}},
	DropHandshakes: {fresh: true, also: []Reason{DropCookieNeeded}, make: func(t *testing.T, p *pair) (*host, uint64) {
		// The only worker is busy with an initiation; it blocks in slowRand.
		gate := make(chan struct{})
		p.a.d.rand.(*slowRand).gate.Store(&gate)
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		f := newForger(t, config.PrivateKey{1: 1}, p.a)
		flood := f.initiation()
		var many []netip.Addr // so that none has more than its share of the queue
		for i := range 128 {
			many = append(many, netip.AddrFrom4([4]byte{203, 0, byte(i), 1}))
		}
		if _, err := p.lan.host(many...).Listen(nowhere.Port(), 0); err != nil {
			t.Fatal(err)
		}
		for i := range handshakeQueue + 7 {
			p.lan.inject(netip.AddrPortFrom(many[i%len(many)], nowhere.Port()), p.a.outer, 0, flood)
		}
		synctest.Wait()
		close(gate)
		return p.a, 7
	}},
	DropCrowded: {fresh: true, also: []Reason{DropCookieNeeded, DropUnknownPeer}, make: func(t *testing.T, p *pair) (*host, uint64) {
		gate := make(chan struct{})
		p.a.d.rand.(*slowRand).gate.Store(&gate)
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		flood := newForger(t, config.PrivateKey{1: 1}, p.a).initiation()
		for range sourceShare + perTick[withoutCookie] + 7 {
			p.lan.inject(nowhere, p.a.outer, 0, flood)
		}
		synctest.Wait()
		close(gate)
		return p.a, 7
	}},
	DropCookieNeeded: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.underLoad()
		p.lan.inject(nowhere, p.a.outer, 0, newForger(t, p.b.key, p.a).initiation())
		return p.a, 1
	}},
	DropRateLimited: {also: []Reason{DropCookieNeeded, DropTooSoon}, make: func(t *testing.T, p *pair) (*host, uint64) {
		f := newForger(t, p.b.key, p.a)
		p.a.underLoad()
		p.lan.inject(nowhere, p.a.outer, 0, f.initiation())
		synctest.Wait()
		reply := p.lan.reset()[0]
		if reply.to != nowhere || f.jar.TakeReply(p.a.d.clock.Now(), p.a.public, reply.data) != nil {
			t.Fatal("no good cookie reply")
		}
		bucket, refused := ratelimiter.New(), uint64(0)
		for range 12 { // ticks with a source's share each, faster than its bucket fills
			p.a.underLoad()
			sleep(time.Duration(timers.Tick))
			for range perTick[withCookie] {
				if !bucket.Allow(p.a.d.clock.Now(), nowhere.Addr()) {
					refused++
				}
				p.lan.inject(nowhere, p.a.outer, 0, f.initiation())
				synctest.Wait()
			}
		}
		if refused < 3 {
			t.Fatalf("%d refused", refused)
		}
		return p.a, refused
	}},
	DropNoPrivateKey: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.b.configure(&config.Update{HasPrivateKey: true})
		p.a.send(p.a.packet4(p.b, "x"))
		p.want("a>b initiation")
		return p.b, 1
	}},
	DropBadHandshake: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{1}}}})
		p.a.send(p.a.packet4(p.b, "x"))
		p.want("a>b initiation, b>a response")
		return p.a, 1
	}},
	DropUnknownPeer: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.inject(nowhere, p.a.outer, 0, newForger(t, config.PrivateKey{1: 1}, p.a).initiation())
		return p.a, 1
	}},
	DropOldTimestamp: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		sleep(time.Second)
		p.lan.inject(p.a.outer, p.b.outer, 0, p.lan.reset()[0].data)
		return p.b, 1
	}},
	DropTooSoon: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		f := newForger(t, p.a.key, p.b)
		p.lan.inject(p.a.outer, p.b.outer, 0, f.initiation())
		sleep(19 * time.Millisecond)
		p.lan.inject(p.a.outer, p.b.outer, 0, f.initiation())
		sleep(time.Millisecond)
		p.lan.inject(p.a.outer, p.b.outer, 0, f.initiation())
		return p.b, 1
	}},
	DropStale: {fresh: true, make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		p.lan.inject(p.b.outer, p.a.outer, 0, p.lan.reset()[1].data)
		return p.a, 1
	}},
	DropBadCookie: {make: func(t *testing.T, p *pair) (*host, uint64) {
		var reply [noise.CookieReplySize]byte
		m := noise.CookieReply{Receiver: 0x12345678}
		m.Put(&reply)
		p.lan.inject(p.b.outer, p.a.outer, 0, reply[:]) // answers nothing
		m.Receiver = p.a.peer(p.b).sendKey.Load().keys.LocalIndex
		m.Put(&reply)
		p.lan.inject(p.b.outer, p.a.outer, 0, reply[:]) // does not authenticate
		return p.a, 2
	}},
	DropUnknownIndex: {make: func(t *testing.T, p *pair) (*host, uint64) {
		m := p.b.sealed(p.a, nil)
		m[4]++
		p.lan.inject(p.b.outer, p.a.outer, 0, m)
		return p.a, 1
	}},
	DropKeyExpired: {make: func(t *testing.T, p *pair) (*host, uint64) {
		late, last := p.b.sealed(p.a, nil), p.b.sealed(p.a, nil)
		sleep(timers.RejectAfterTime - 1)
		p.lan.inject(p.b.outer, p.a.outer, 0, last)
		sleep(1)
		p.lan.inject(p.b.outer, p.a.outer, 0, late)
		return p.a, 1
	}},
	DropBadTag: {make: func(t *testing.T, p *pair) (*host, uint64) {
		m := p.b.sealed(p.a, make([]byte, 64))
		m[40] ^= 4
		p.lan.inject(p.b.outer, p.a.outer, 0, m)
		return p.a, 1
	}},
	DropReplay: {make: func(t *testing.T, p *pair) (*host, uint64) {
		m := p.b.sealed(p.a, nil)
		for range 3 {
			p.lan.inject(p.b.outer, p.a.outer, 0, m)
		}
		return p.a, 2
	}},
	DropBadInner: {make: func(t *testing.T, p *pair) (*host, uint64) {
		four, six := p.b.packet4(p.a, "0123456789"), p.b.packet6(p.a, "0123456789")
		for _, inner := range [][]byte{
			{0x45}, four[:19], six[:39], four[:len(four)-1], six[:len(six)-1], // cut short
			make([]byte, 64),                                      // neither 4 nor 6
			append([]byte{0x44}, four[1:]...),                     // header shorter than a header
			append([]byte{0x45, 0, 0, 19}, four[4:]...),           // length shorter than the header
			append([]byte{0x60, 0, 0, 0, 0xff, 0xff}, six[6:]...), // 65,575 is not 39
		} {
			p.lan.inject(p.b.outer, p.a.outer, 0, p.b.sealed(p.a, inner))
		}
		return p.a, 9
	}},
	DropBadSource: {make: func(t *testing.T, p *pair) (*host, uint64) {
		// An address of b that a longer prefix gives to another peer, one of that
		// peer alone, one of nobody, one of a itself.
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, AllowedIPs: prefixes("10.8.0.0/16")},
			{PublicKey: config.PublicKey{9: 1}, AllowedIPs: prefixes("10.8.1.0/24", "10.9.0.0/16")}}})
		for _, source := range []string{"10.8.1.1", "10.9.0.1", "10.0.0.3", "10.0.0.1"} {
			p.b.send(tuntest.UDP(netip.AddrPortFrom(netip.MustParseAddr(source), 1), netip.AddrPortFrom(p.a.inner4, 1), nil))
		}
		mine := tuntest.UDP(netip.MustParseAddrPort("10.8.2.1:1"), netip.AddrPortFrom(p.a.inner4, 1), nil)
		p.b.send(mine)
		p.a.wantReceived(mine)
		return p.a, 4
	}},
	DropCongested: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.lan.inject(p.b.outer, p.a.outer, ecnCE, p.b.sealed(p.a, p.b.packet4(p.a, "x")))
		return p.a, 1
	}},
	DropTunError: {make: func(t *testing.T, p *pair) (*host, uint64) {
		p.a.tun.FailWrites(func(packet []byte) error {
			if packet[0]>>4 == 6 {
				return syscall.EINVAL
			}
			return nil
		})
		p.b.send(p.b.packet4(p.a, "x"))
		p.b.send(p.b.packet6(p.a, "x"))
		return p.a, 1
	}},
}

// Every reason to drop a packet has a cause, a counter and a name.
func TestEveryDropReason(t *testing.T) {
	names := map[string]bool{}
	for r := notDropped + 1; r < numReasons; r++ {
		c, ok := dropCases[r]
		if !ok || r.String() == "" || names[r.String()] {
			t.Errorf("reason %d (%v) has no case here, or no name of its own", r, r)
			continue
		}
		names[r.String()] = true
		t.Run(r.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if r == DropHandshakes || r == DropCrowded {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one handshake worker
					c.opts.Rand = new(slowRand)
				}
				p := newPair(t, c.opts)
				if !c.fresh {
					p.connect()
				}
				who, count := c.make(t, p)
				synctest.Wait()
				if got := who.drops(r); got != count {
					t.Errorf("%d dropped as %v, not %d; %s; %s", got, r, count, p.a.allDrops(), p.b.allDrops())
				}
				for o := notDropped; o < numReasons; o++ {
					if o != r && who.drops(o) != 0 && !slices.Contains(c.also, o) {
						t.Errorf("%d dropped as %v", who.drops(o), o)
					}
				}
			})
		})
	}
}

// Who sends to nowhere is told so, within limits: host unreachable, address
// unreachable, from the very address.
func TestUnreachableIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		noEndpoint := config.PeerUpdate{PublicKey: config.PublicKey{9: 1}, AllowedIPs: []config.AllowedIP{
			{Prefix: netip.MustParsePrefix("10.9.0.0/16")}, {Prefix: netip.MustParsePrefix("fd09::/16")}}}
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{noEndpoint}})
		for _, dst := range []string{"10.77.0.1", "10.9.0.1", "fd77::1", "fd09::1"} {
			to, src := netip.MustParseAddr(dst), p.a.inner4
			if to.Is6() {
				src = p.a.inner6
			}
			x := tuntest.UDP(netip.AddrPortFrom(src, 1), netip.AddrPortFrom(to, 2), []byte("anybody?"))
			p.a.send(x)
			got := p.a.received()
			if len(got) != 1 || !bytes.HasSuffix(got[0], x) {
				t.Fatalf("%d answers to a packet to %s, or none that quotes it", len(got), dst)
			}
			answer := got[0]
			if to.Is4() && (answer[20] != 3 || answer[21] != 1 || netip.AddrFrom4([4]byte(answer[12:])) != to || netip.AddrFrom4([4]byte(answer[16:])) != src) ||
				to.Is6() && (answer[40] != 1 || answer[41] != 3 || netip.AddrFrom16([16]byte(answer[8:])) != to || netip.AddrFrom16([16]byte(answer[24:])) != src) {
				t.Errorf("the answer about %s is % x", dst, answer)
			}
		}
		p.a.wantDrops(map[Reason]uint64{DropNoPeer: 2, DropNoEndpoint: 2})

		sleep(time.Second)
		count := func(n int) int {
			for range n {
				p.a.sendTo("10.77.0.1:1")
			}
			return len(p.a.received())
		}
		if n := count(300); n != icmpBurst {
			t.Errorf("%d answers at once, not %d", n, icmpBurst)
		}
		sleep(10 * time.Millisecond)
		if n := count(300); n != icmpPerSecond/100 {
			t.Errorf("%d answers after 10 ms, not %d", n, icmpPerSecond/100)
		}
		p.a.tun.FailWrites(func([]byte) error { return syscall.EIO })
		sleep(time.Second)
		count(1)
	})
}
