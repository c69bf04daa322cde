package device

import (
	"testing"
	"testing/synctest"
	"time"

	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// Under load a responder wants a proof of address before it computes: it
// answers with a cookie, the initiator comes back with mac2, and has a session.
func TestCookieUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		var mac2 []bool
		p.lan.setFate(func(d *datagram) {
			if m, err := noise.ParseInitiation(d.data); err == nil {
				mac2 = append(mac2, m.MAC2 != [16]byte{})
				p.b.underLoad()
			}
		})
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.want("a>b initiation, b>a cookie reply")
		p.b.wantDrops(map[Reason]uint64{DropCookieNeeded: 1})
		p.a.wantDrops(nil)
		if s := p.a.status(p.b); s.RxBytes != 0 || s.TxBytes != noise.InitiationSize {
			t.Errorf("a counts %d received, %d sent: cookie replies do not count", s.RxBytes, s.TxBytes)
		}
		if s := p.b.status(p.a); s.TxBytes != 0 {
			t.Errorf("b counts %d sent", s.TxBytes)
		}
		sleep(6 * time.Second) // the reply does not shorten the wait
		p.want("a>b initiation, b>a response, a>b data 64")
		p.b.wantReceived(x)
		p.b.wantDrops(map[Reason]uint64{DropCookieNeeded: 1})
		if len(mac2) != 2 || mac2[0] || !mac2[1] {
			t.Errorf("mac2 set: %v", mac2)
		}
	})
}

// The responder's cookie works the same way: an initiator under load has the
// response repeated with mac2.
func TestCookieForResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.setFate(func(d *datagram) {
			if noise.Classify(d.data) == noise.TypeResponse {
				p.a.underLoad()
			}
		})
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.want("a>b initiation, b>a response, a>b cookie reply")
		sleep(6 * time.Second)
		p.want("a>b initiation, b>a response, a>b data 64")
		p.b.wantReceived(x)
	})
}

// A flood of initiations with forged sources does not keep an honest peer out:
// the flood costs its share of cookies, the peer has a cookie, its bucket is its own.
func TestHonestPeerGetsThroughFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.lan.quiet = true
		f := newForger(t, p.b.key, p.b) // valid mac1, which everybody who knows b's public key can make
		flood := f.initiation()
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		for range 1200 { // 12 s
			p.b.underLoad()
			for range 20 {
				p.lan.inject(nowhere, p.b.outer, 0, flood)
			}
			sleep(10 * time.Millisecond)
		}
		p.b.wantReceived(x)
		cookies, crowded := p.b.drops(DropCookieNeeded), p.b.drops(DropCrowded)
		most := int(12*time.Second/time.Duration(timers.Tick))*perTick[withoutCookie] + 25 // the first came before the load was known
		if cookies > uint64(most) || cookies+crowded < 24_000 || cookies+crowded > 24_003 {
			t.Errorf("%d cookies were given, and %d not", cookies, crowded)
		}
	})
}

// A reader that is behind is counted, with workers or without, until it is not any more or ends;
// one aside is not, and hands nothing over.
func TestBehindIsCounted(t *testing.T) {
	for _, c := range []struct {
		workers, aside bool
		want           int32
	}{{false, false, 1}, {true, false, 1}, {false, true, 0}, {true, true, 0}} {
		counts := &readerCounts{}
		l := load{workers: c.workers, aside: c.aside, counts: counts}
		note := func(drained bool) {
			for range fullDrains {
				l.note(1, drained)
			}
		}
		note(false)
		if got := counts.behind.Load(); got != c.want {
			t.Errorf("%+v: %d are behind", c, got)
		}
		if got := l.parallel(); got != (c.workers && !c.aside) {
			t.Errorf("%+v: parallel %v", c, got)
		}
		if note(true); counts.behind.Load() != 0 {
			t.Errorf("%+v: still behind", c)
		}
		note(false)
		if l.set(false); counts.behind.Load() != 0 {
			t.Errorf("%+v: behind, and it has ended", c)
		}
	}
}

// A reader that was behind and finds nothing any more is behind no longer, though it is not told that: it waits.
func TestWhoWaitsIsNotBehind(t *testing.T) {
	counts := &readerCounts{}
	l, begin := load{counts: counts}, clock.Time(time.Hour)
	for range fullDrains {
		l.note(begin, false)
	}
	for after, want := range map[time.Duration]bool{0: true, behindHold - 1: true, behindHold: false, time.Hour: false} {
		if got := counts.anyBehind(begin.Add(after)); got != want {
			t.Errorf("after %v one is behind: %v", after, got)
		}
	}
	if l.note(begin.Add(time.Hour), true); !counts.anyBehind(begin.Add(time.Hour)) {
		t.Error("it goes on, and is not behind")
	}
	aside := load{counts: counts, aside: true, on: true}
	aside.note(begin.Add(2*time.Hour), false)
	if counts.anyBehind(begin.Add(2 * time.Hour)) {
		t.Error("one aside counts")
	}
}
