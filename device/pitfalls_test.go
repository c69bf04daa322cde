package device

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// Tests of faults that daemons have had and of rules that nothing else here
// holds; docs/pitfalls.md names them.

// A key that has sent more than REKEY_AFTER_MESSAGES is renewed, by either side
// and once, however young it is.
func TestRenewalAfterMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(6 * time.Second) // REKEY_TIMEOUT
		counter := func(h, o *host) { h.peer(o).sendKey.Load().next.Store(timers.RekeyAfterMessages) }
		counter(p.a, p.b)
		p.a.send(p.a.packet4(p.b, "at the limit"))
		p.want("a>b data 80")
		p.a.send(p.a.packet4(p.b, "above"))
		p.wantBeside("a>b data 80", "a>b initiation, b>a response, a>b keepalive")
		sleep(6 * time.Second)
		counter(p.b, p.a) // the responder's
		p.b.send(p.b.packet4(p.a, "at the limit"))
		p.want("b>a data 80")
		p.b.send(p.b.packet4(p.a, "above"))
		p.wantBeside("b>a data 80", "b>a initiation, a>b response, b>a keepalive")
	})
}

// A packet whose source is not allowed was authentic all the same: the endpoint
// follows it.
func TestEndpointFollowsWhatFailsTheSourceCheck(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		bad := tuntest.UDP(netip.MustParseAddrPort("10.77.0.1:1"), netip.AddrPortFrom(p.a.inner4, 1), nil)
		before := p.a.status(p.b)
		p.lan.inject(nowhere, p.a.outer, 0, p.b.sealed(p.a, bad))
		synctest.Wait()
		p.a.wantReceived()
		p.a.wantDrops(map[Reason]uint64{DropBadSource: 1})
		if after := p.a.status(p.b); after.Endpoint != nowhere || after.RxBytes != before.RxBytes {
			t.Errorf("the endpoint is %v, %d bytes were counted", after.Endpoint, after.RxBytes-before.RxBytes)
		}
	})
}

// A response moves the endpoint to where it came from.
func TestEndpointFollowsResponse(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.setFate(lossOf(fromHost(p.b)))
		p.a.send(p.a.packet4(p.b, "x"))
		p.want("a>b initiation, b>a response") // lost
		sleep(6 * time.Second)
		log := p.lan.reset()
		p.lan.inject(nowhere, p.a.outer, 0, log[len(log)-1].data)
		p.want("a>203.0.113.9 data 64")
	})
}

// Padding is zeros, whatever was in the arena before.
func TestPaddingIsZero(t *testing.T) {
	b := newOutBatch()
	for i := range b.mem {
		b.mem[i] = 0xee
	}
	packet := b.add(5, 16, 0)
	if copy(packet, "12345") != 5 || string(b.mem[noise.TransportHeaderSize:][:16]) != "12345"+strings.Repeat("\x00", 11) {
		t.Errorf("% x", b.mem[:b.n])
	}
}

// The static-static secret of a peer is computed when it is first needed, and
// once; a preshared key does not change it, another private key does.
func TestStaticSharedIsComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		remote := func() *remote { return p.a.peer(p.b).remote.Load() }
		if remote() != nil {
			t.Error("computed before it was needed")
		}
		p.connect()
		first := remote()
		shared := first.Shared // of a remote that is replaced it is wiped
		sleep(200 * time.Second)
		p.connect()
		if first.id == nil || remote() != first {
			t.Error("computed again for the second handshake")
		}
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{1}}}})
		if r := remote(); r.id != first.id || r.Shared != shared {
			t.Error("a preshared key made it void")
		}
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{9}})
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		if r := remote(); r == nil || r.id != p.a.d.identity.Load() || r.Shared == shared {
			t.Error("not computed for another private key")
		}
	})
}

// A peer with a public key of low order is taken, and never sent anything.
func TestLowOrderPeerIsNeverSentTo(t *testing.T) {
	for _, low := range []config.PublicKey{{}, {1}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, Options{})
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: low, Endpoint: p.b.outer, AllowedIPs: prefixes("10.6.0.0/16"),
				HasPersistentKeepalive: true, PersistentKeepalive: 25}}})
			p.a.sendTo("10.6.0.1:1")
			sleep(3 * time.Minute)
			p.want("")
			if _, peers := p.a.described(); len(peers) != 2 || peers[1].PublicKey != low || peers[1].TxBytes != 0 {
				t.Errorf("the peers are %+v", peers)
			}
			if n := p.a.d.index.len(); n != 0 {
				t.Errorf("%d indices are taken", n)
			}
		})
	}
}

// The sticky source is forgotten when an initiation is repeated, and when the
// mark or the port is another.
func TestSourceIsForgotten(t *testing.T) {
	for name, happen := range map[string]func(p *pair){
		"fwmark": func(p *pair) { p.a.configure(&config.Update{HasFirewallMark: true, FirewallMark: 7}) },
		"port":   func(p *pair) { p.a.configure(&config.Update{HasListenPort: true, ListenPort: 7777}) },
		"T1": func(p *pair) {
			sleep(200 * time.Second) // the key is dead
			p.lan.setFate(lossOf(everything))
			p.a.send(p.a.packet4(p.b, "x"))
			sleep(4 * time.Second)
			if !p.a.peer(p.b).endpoint.Load().Local.IsValid() {
				p.a.t.Error("forgotten before T1")
			}
			sleep(2 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				p.connect()
				if !p.a.peer(p.b).endpoint.Load().Local.IsValid() {
					t.Fatal("no source was learned")
				}
				happen(p)
				if e := p.a.peer(p.b).endpoint.Load(); e.Local.IsValid() || e.Remote != p.b.outer {
					t.Errorf("the endpoint is %v from %v", e.Remote, e.Local)
				}
			})
		})
	}
}

// A cookie reply moves neither endpoint nor timers, is counted nowhere, and has
// no DSCP; handshakes have AF41.
func TestCookieReplyMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.b.underLoad()
		p.lan.setFate(lossOf(fromHost(p.b)))
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		log := p.lan.reset()
		if len(log) != 2 || noise.Classify(log[1].data) != noise.TypeCookieReply || log[0].tos != 0x88 || log[1].tos != 0 {
			t.Fatalf("%d datagrams, or of another type or class", len(log))
		}
		sleep(3 * time.Second)
		before := p.a.status(p.b)
		p.lan.inject(nowhere, p.a.outer, 0, log[1].data)
		synctest.Wait()
		if after := p.a.status(p.b); after.Endpoint != p.b.outer || after.RxBytes != before.RxBytes || after.TxBytes != before.TxBytes {
			t.Errorf("the cookie reply changed %+v to %+v", before, after)
		}
		p.a.wantDrops(nil)
		wantWithin(t, "initiation", 3*time.Second+p.after(time.Minute), timers.RekeyTimeout, timers.RekeyTimeout+timers.MaxJitter+grain)
		if m, err := noise.ParseInitiation(p.lan.reset()[0].data); err != nil || m.MAC2 == [16]byte{} {
			t.Errorf("the cookie is not used: %v", err)
		}
	})
}

// Who floods alone has to prove his address alone, for as long as he floods: others are not
// asked for cookies, and there is room for what they send.
func TestOneSourceFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one handshake worker
		slow := new(slowRand)
		p := newPair(t, Options{Rand: slow})
		gate := make(chan struct{})
		slow.gate.Store(&gate) // it is busy
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		flood := newForger(t, config.PrivateKey{1: 1}, p.a).initiation()
		for range handshakeQueue + 7 {
			p.lan.inject(nowhere, p.a.outer, 0, flood)
		}
		synctest.Wait()
		if n := len(p.a.d.handshakes); n != sourceShare+perTick[withoutCookie] {
			t.Errorf("%d messages wait", n)
		}
		p.lan.inject(p.b.outer, p.a.outer, 0, newForger(t, p.b.key, p.a).initiation())
		synctest.Wait()
		if n := len(p.a.d.handshakes); n != sourceShare+perTick[withoutCookie]+1 {
			t.Errorf("%d messages wait with b's", n)
		}
		slow.gate.Store(nil)
		close(gate)
		synctest.Wait()
		drops := map[Reason]uint64{
			DropUnknownPeer:  sourceShare,
			DropCookieNeeded: uint64(perTick[withoutCookie]),
			DropCrowded:      uint64(handshakeQueue + 7 - sourceShare - perTick[withoutCookie]),
		}
		p.a.wantDrops(drops)
		if said := p.transcript(); !slices.Contains(said, "a>b response") {
			t.Errorf("b has no answer: %v", said[:min(9, len(said))])
		}
		if n := p.a.d.crowd.of(nowhere.Addr()).waiting.Load() + p.a.d.crowd.waiting.Load(); n != 0 {
			t.Errorf("%d messages that are done are counted", n)
		}

		sleep(time.Duration(timers.Tick)) // it may ask once more
		p.lan.inject(nowhere, p.a.outer, 0, flood)
		synctest.Wait()
		drops[DropCookieNeeded]++
		p.a.wantDrops(drops)
		sleep(sourceHold)
		p.lan.inject(nowhere, p.a.outer, 0, flood)
		synctest.Wait()
		drops[DropUnknownPeer]++
		p.a.wantDrops(drops)
	})
}

// Under load a source has so much of the workers and no more, and what it sends without a cookie
// takes nothing of what it sends with one.
func TestSharesUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.underLoad()
		f := newForger(t, config.PrivateKey{1: 1}, p.a)
		p.lan.inject(nowhere, p.a.outer, 0, f.initiation()) // the first that is looked at tells of the load
		synctest.Wait()
		drops := map[Reason]uint64{DropCookieNeeded: 1}
		p.a.wantDrops(drops)
		sleep(time.Duration(timers.Tick))
		cookie := f.initiation()
		cookie[noise.InitiationSize-1] = 1 // a wrong one
		for range 10 {
			p.lan.inject(nowhere, p.a.outer, 0, f.initiation())
			p.lan.inject(nowhere, p.a.outer, 0, cookie)
		}
		synctest.Wait()
		drops[DropCookieNeeded] += uint64(perTick[withoutCookie] + perTick[withCookie])
		drops[DropCrowded] = uint64(20 - perTick[withoutCookie] - perTick[withCookie])
		p.a.wantDrops(drops)
		sleep(time.Second) // the load is over, but nobody has looked
		for range 3 {
			p.lan.inject(nowhere, p.a.outer, 0, f.initiation())
			synctest.Wait()
		}
		drops[DropUnknownPeer] = 3
		p.a.wantDrops(drops)
	})
}

// Messages whose mac1 is bad occupy nothing: however many there are, the queue
// is empty, and nobody else is asked for a cookie.
func TestBadMACsAreNoLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one handshake worker
		slow := new(slowRand)
		p := newPair(t, Options{Rand: slow})
		gate := make(chan struct{})
		slow.gate.Store(&gate) // it is busy
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		initiation := newForger(t, p.a.key, p.b).initiation() // meant for b
		response := make([]byte, noise.ResponseSize)
		response[0] = byte(noise.TypeResponse)
		for range handshakeQueue / 4 {
			p.lan.inject(nowhere, p.a.outer, 0, initiation)
			p.lan.inject(nowhere, p.a.outer, 0, response)
		}
		synctest.Wait()
		if n := len(p.a.d.handshakes); n != 0 {
			t.Errorf("%d messages wait", n)
		}
		slow.gate.Store(nil)
		close(gate)
		p.want("a>b initiation, b>a response, a>b data 64")
		p.a.wantDrops(map[Reason]uint64{DropBadMAC1: handshakeQueue / 2})
	})
}

// Cookie replies that answer nothing occupy nothing; of those that name an index in use a source has
// its share, and nobody else is asked for a cookie.
func TestCookieRepliesAreNoLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one handshake worker
		slow := new(slowRand)
		p := newPair(t, Options{Rand: slow})
		p.connect()
		reply := make([]byte, noise.CookieReplySize)
		reply[0] = byte(noise.TypeCookieReply)
		flood := func(receiver uint32) {
			binary.LittleEndian.PutUint32(reply[4:], receiver)
			for range handshakeQueue + 7 {
				p.lan.inject(nowhere, p.a.outer, 0, reply)
			}
			synctest.Wait()
		}
		sleep(timers.RejectAfterTime)
		gate := make(chan struct{})
		slow.gate.Store(&gate) // the worker is busy
		p.a.send(p.a.packet4(p.b, "x"))
		synctest.Wait()
		known := p.a.peer(p.b).keypairs()[0].keys.LocalIndex
		flood(known + 1)
		p.a.wantDrops(map[Reason]uint64{DropBadCookie: handshakeQueue + 7})
		flood(known)
		if n := len(p.a.d.handshakes); n != sourceShare+perTick[withoutCookie] {
			t.Errorf("%d messages wait", n)
		}
		p.lan.reset()
		slow.gate.Store(nil)
		close(gate)
		p.want("a>b initiation, b>a response, a>b data 64")
		waited := uint64(sourceShare + perTick[withoutCookie])
		p.a.wantDrops(map[Reason]uint64{DropBadCookie: handshakeQueue + 7 + waited, DropCrowded: handshakeQueue + 7 - waited})
		if n := p.a.d.crowd.of(nowhere.Addr()).waiting.Load() + p.a.d.crowd.waiting.Load(); n != 0 {
			t.Errorf("%d messages that are done are counted", n)
		}
	})
}

// Retries have jitter, drawn anew each time.
func TestJitter(t *testing.T) {
	for range 1000 {
		if j := jitter(timers.MaxJitter); j < 0 || j >= timers.MaxJitter {
			t.Fatalf("a jitter of %v", j)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		sleep(110 * time.Second)
		log, waits := p.lan.reset(), map[time.Duration]bool{}
		for i := range log[1:] {
			waits[log[i+1].at.Sub(log[i].at).Truncate(grain)] = true
		}
		if len(waits) < 3 {
			t.Errorf("%d initiations came after %v", len(log), waits)
		}
	})
}

// Who draws the jitter says when retries go out, and keys are renewed.
func TestJitterIsTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var renewals atomic.Int32 // that jitter was drawn for
		p := newPair(t, Options{Jitter: func(most time.Duration) time.Duration {
			if most == timers.MaxRekeyJitter {
				renewals.Add(1)
			}
			return most - 1
		}})
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "x"))
		sleep(30 * time.Second)
		log := p.lan.reset()
		for i := range log[1:] {
			wantWithin(t, "retry", log[i+1].at.Sub(log[i].at), timers.RekeyTimeout+timers.MaxJitter-1, timers.RekeyTimeout+timers.MaxJitter+grain)
		}
		p.lan.setFate(nil)
		sleep(6 * time.Second)
		begun := renewals.Load()
		sleep(timers.RekeyAfterTime + timers.MaxRekeyJitter - 7*time.Second)
		p.lan.reset()
		p.a.send(p.a.packet4(p.b, "before"))
		p.want("a>b data 80")
		sleep(8 * time.Second)
		p.a.send(p.a.packet4(p.b, "after"))
		p.wantBeside("a>b data 80", "a>b initiation, b>a response, a>b keepalive")
		if len(log) < 5 || begun != 1 {
			t.Errorf("%d initiations, and jitter drawn for %d renewals", len(log), begun)
		}
	})
}

// memoryStore is a StampStore.
type memoryStore struct {
	mu   sync.Mutex
	last noise.Timestamp
}

func (m *memoryStore) Load() (noise.Timestamp, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

func (m *memoryStore) Save(last noise.Timestamp) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = last
	return nil
}

// The last handshake label survives a restart, and a crash: a wall clock that
// went back meanwhile locks nobody out. Without a store it does.
func TestStampSurvivesRestart(t *testing.T) {
	for name, c := range map[string]struct{ store, crash, refused bool }{
		"closed": {store: true}, "crashed": {store: true, crash: true}, "forgotten": {refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall := &jumpingClock{Clock: clock.Virtual()}
				store := new(memoryStore)
				p := newPair(t, Options{Clock: wall, Stamps: store})
				p.connect()
				sleep(200 * time.Second)
				p.connect() // a later label
				kept, _ := store.Load()
				p.a.close()
				opts := Options{Clock: wall}
				if c.crash {
					store.Save(kept)
				}
				if c.store {
					opts.Stamps = store
				}
				wall.wall.Add(-int64(24 * time.Hour))
				again := &host{t: t, name: "a again", tun: tuntest.NewUp(1420), net: p.a.net, key: p.a.key, public: p.a.public,
					outer: p.a.outer, inner4: p.a.inner4, inner6: p.a.inner6}
				var err error
				if again.d, err = New(again.tun, again.net, opts); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(again.close)
				again.configure(&config.Update{HasPrivateKey: true, PrivateKey: again.key, HasListenPort: true, ListenPort: again.outer.Port()})
				again.knows(p.b)
				sleep(time.Second)
				x := again.packet4(p.b, "x")
				again.send(x)
				if got := len(p.b.received()); (got == 0) != c.refused || (p.b.drops(DropOldTimestamp) > 0) != c.refused {
					t.Errorf("%d packets came; %s", got, p.b.allDrops())
				}
			})
		})
	}
}

// The largest datagrams and MTU there are do no harm, nor does a packet that
// fits no datagram.
func TestLargestPackets(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		p.a.tun.SetMTU(65535)
		p.b.tun.SetMTU(65535)
		synctest.Wait()
		p.lan.setFate(func(d *datagram) {
			if len(d.data) > 65507 { // the most UDP over IPv4 has
				d.err = syscall.EMSGSIZE
			}
		})
		for _, n := range []int{9000, 40000, 65456} {
			x, y := p.a.packet4(p.b, strings.Repeat("x", n-28)), p.a.packet6(p.b, strings.Repeat("y", n-48))
			p.a.send(x)
			p.a.send(y)
			p.b.wantReceived(x, y)
		}
		p.a.send(p.a.packet4(p.b, strings.Repeat("x", 65535-28)))
		p.a.send(p.a.packet6(p.b, strings.Repeat("y", 65535-8)))
		p.b.wantReceived()
		p.a.wantDrops(map[Reason]uint64{DropSendError: 2})
		for kind := range byte(6) {
			junk := make([]byte, 65507)
			junk[0] = kind
			p.lan.inject(nowhere, p.b.outer, 0, junk)
		}
		synctest.Wait()
		p.b.wantDrops(map[Reason]uint64{DropMalformed: 5, DropUnknownIndex: 1})
	})
}

// logBuffer is a log that tests read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// A routing loop is dropped by name each time and logged once; an old timestamp
// is logged with what it may come from.
func TestWhatIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logBuffer)
		p := newPair(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		p.a.send(p.a.packet4(p.b, "hello"))
		p.b.received()
		initiation := p.lan.reset()[0].data
		p.connect()
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, AllowedIPs: prefixes("0.0.0.0/0")}}})
		for range 5 {
			p.a.send(tuntest.UDP(p.a.outer, p.b.outer, p.a.sealed(p.b, make([]byte, 64))))
			sleep(time.Minute / 5)
		}
		p.a.wantDrops(map[Reason]uint64{DropLoop: 5})
		if n := log.count("routing loop"); n != 1 {
			t.Errorf("the loop was logged %d times", n)
		}
		for range 5 {
			p.lan.inject(p.a.outer, p.b.outer, 0, initiation)
			sleep(time.Second)
		}
		p.b.wantDrops(map[Reason]uint64{DropOldTimestamp: 5})
		if n := log.count("an implementation whose clock runs ahead"); n != 1 {
			t.Errorf("the old timestamp was explained %d times", n)
		}
	})
}

// MaxPeers is the most; an update that would exceed it changes nothing, one of
// peers that are there already is fine.
func TestTooManyPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		list := &p.a.d.controller.peers
		count := func(n int) { p.a.d.do(func() { list.dead = len(list.items) - n }) } // as if there were so many
		count(MaxPeers)
		fresh := config.PeerUpdate{PublicKey: config.PublicKey{9: 1}}
		err := p.a.d.Configure(&config.Update{HasFirewallMark: true, FirewallMark: 9, Peers: []config.PeerUpdate{peerOf(p.b), fresh}})
		if i, _ := p.a.described(); !errors.Is(err, syscall.ENOSPC) || i.FirewallMark != 0 || p.a.d.lookup(fresh.PublicKey) != nil {
			t.Errorf("one too many: %v, %+v", err, i)
		}
		p.a.knows(p.b)
		count(MaxPeers - 1)
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{fresh}})
		count(2)
	})
}

// An idle peer is data: no goroutine, no timer, little memory; and there may be
// more than 65,536.
func TestIdlePeersCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, most = 66_000, 1200
		p := newPair(t, Options{})
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		u := &config.Update{Peers: make([]config.PeerUpdate, peers)}
		ips := make([]config.AllowedIP, peers)
		for i := range u.Peers {
			ips[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1 + byte(i>>16), byte(i >> 8), byte(i)}), 32)
			u.Peers[i] = config.PeerUpdate{PublicKey: config.PublicKey{1, byte(i), byte(i >> 8), byte(i >> 16)}, Endpoint: p.b.outer, AllowedIPs: ips[i : i+1]}
		}
		before, goroutines := heap(), runtime.NumGoroutine()
		p.a.configure(u)
		if per := (heap() - before) / peers; per > most {
			t.Errorf("%d bytes a peer", per)
		} else {
			t.Logf("%d bytes a peer", per)
		}
		runtime.KeepAlive(u)
		if n := runtime.NumGoroutine() - goroutines; n > 0 {
			t.Errorf("%d goroutines more", n)
		}
		if n := p.a.d.controller.wheel.Len(); n != 0 {
			t.Errorf("%d peers have a timer", n)
		}
		p.connect()
	})
}

// Packets staged for peers that cannot be reached stay within their part of the
// budget, and neither handshakes nor others' data lack memory because of them.
func TestStagedPacketsStarveNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		opts.Budget = 8 << 20
		p := newPair(t, opts)
		p.lan.setFate(func(d *datagram) { d.lost = d.to == nowhere || d.from == nowhere })
		u := &config.Update{}
		peers := int(opts.Budget >> 17) // 128 packets of 1400 bytes each are more than all of it
		for i := range peers {
			u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: config.PublicKey{5, byte(i), byte(i >> 8)}, Endpoint: nowhere,
				AllowedIPs: prefixes(fmt.Sprintf("10.7.%d.1/32", i))})
		}
		p.a.configure(u)
		most := int64(0)
		for i := range peers {
			dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 7, byte(i), 1}), 1)
			for range maxStaged {
				p.a.send(tuntest.UDP(netip.AddrPortFrom(p.a.inner4, 1), dst, make([]byte, 1400)))
			}
			synctest.Wait()
			most = max(most, p.a.d.Stats().Memory)
		}
		if most > opts.Budget || p.a.d.stageBudget.used.Load() < p.a.d.stageBudget.limit-2000 {
			t.Errorf("%d bytes held of %d, %d staged of %d", most, opts.Budget, p.a.d.stageBudget.used.Load(), p.a.d.stageBudget.limit)
		}
		p.a.send(p.a.packet4(p.b, strings.Repeat("finds no place", 150)))
		synctest.Wait()
		if p.a.peer(p.b).sendKey.Load() == nil {
			t.Error("a packet that found no place did not ask for keys")
		}
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
	})
}

// listReader is a TUN queue that holds packets, and is closed then.
type listReader struct {
	packets [][]byte // behind virtio headers
	reads   int      // calls of Read, so drains begun
}

func (r *listReader) Read(p *tun.Packet) error {
	r.reads++
	if ok, _ := r.TryRead(p); !ok {
		return os.ErrClosed
	}
	return nil
}

func (r *listReader) TryRead(p *tun.Packet) (bool, error) {
	if len(r.packets) == 0 {
		return false, nil
	}
	p.SetVirtio(r.packets[0])
	r.packets = r.packets[1:]
	return true, nil
}

// counted counts calls of Send.
type counted struct {
	conn.Sockets
	sends atomic.Int32
}

func (c *counted) Send(runs []conn.Run) {
	c.sends.Add(1)
	c.Sockets.Send(runs)
}

// What waits in the TUN goes out in one call, and a drain is bounded in packets
// and in bytes, so that its first packet does not wait long for its last.
func TestDrain(t *testing.T) {
	single := func(p *pair) []byte {
		return append(make([]byte, tun.VirtioLen), p.a.packet4(p.b, "small")...)
	}
	super := func(p *pair) []byte {
		src, dst := netip.AddrPortFrom(p.a.inner4, 80), netip.AddrPortFrom(p.b.inner4, 4000)
		return tuntest.Super(tuntest.TCP(src, dst, tuntest.TCPHeader{}, make([]byte, 60_000)), 1300, 0)
	}
	for name, c := range map[string]struct {
		packet               func(p *pair) []byte
		count, drains, sends int
	}{
		"small": {single, 3*maxDrain - 1, 3, 3},
		"large": {super, 10, 4, 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, Options{Workers: -1})
				p.connect()
				counting := &counted{Sockets: *p.a.d.sockets.Load()}
				var s conn.Sockets = counting
				p.a.d.sockets.Store(&s)
				r := new(listReader)
				for range c.count {
					r.packets = append(r.packets, c.packet(p))
				}
				p.a.d.readers.Add(1)
				(&outbound{d: p.a.d, reader: r, load: p.a.d.newLoad()}).run()
				if r.reads-1 != c.drains || int(counting.sends.Load()) > c.sends {
					t.Errorf("%d drains and %d sends, not %d and %d", r.reads-1, counting.sends.Load(), c.drains, c.sends)
				}
				synctest.Wait()
			})
		})
	}
}

// What wg(8) shows has 64 bits on every machine.
func TestCountersHave64Bits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.peer(p.b).rx.Add(1 << 40)
		p.a.peer(p.b).tx.Add(1<<64 - 1)
		s := p.a.status(p.b)
		for _, n := range []*uint64{&s.RxBytes, &s.TxBytes} { // would not compile
			if *n < 1<<40 {
				t.Errorf("%d bytes", *n)
			}
		}
	})
}

// Indices are the randomness handed in, and never two at once the same.
func TestIndicesAreRandom(t *testing.T) {
	var table indexTable
	r := bytes.NewReader([]byte{1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8})
	one, err1 := table.reserve(r)
	two, err2 := table.reserve(r)
	if one != 0x04030201 || two != 0x08070605 || err1 != nil || err2 != nil {
		t.Errorf("%#x, %v and %#x, %v", one, err1, two, err2)
	}
	if _, err := table.reserve(r); err == nil || table.len() != 2 {
		t.Errorf("without randomness: %v, %d in use", err, table.len())
	}
}
