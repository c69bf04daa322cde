package device

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// A flood begins in a tick with enough that is useless, goes on with a quarter of that, and is over after ten
// seconds without.
func TestFloodBeginsAndEnds(t *testing.T) {
	var f flood
	f.init()
	f.able.Store(true)
	tick, useless := clock.Time(1000), uint64(1e6)
	f.look(tick, useless)
	for i, c := range []struct {
		ticks   clock.Time
		useless uint64 // in those
		on      bool
		look    bool // the controller is asked to
	}{
		{1, floodPerTick - 1, false, false},
		{4, 4*floodPerTick - 1, false, false},
		{0, 0, false, false},
		{1, floodPerTick, true, true},
		{0, 9 * floodPerTick, true, false}, // in the same tick: counted in the next
		{1, 0, true, true},
		{1, floodPerTick / 4, true, true},
		{floodCalm - 1, 0, true, true},
		{1, floodPerTick / 4, true, true}, // the ten seconds begin anew
		{floodCalm - 1, 0, true, true},
		{1, floodPerTick/4 - 1, false, true},
		{1, floodPerTick - 1, false, false},
		{3, 3 * floodPerTick, true, true},
	} {
		tick, useless = tick+c.ticks, useless+c.useless
		if f.look(tick, useless); f.on.Load() != c.on || len(f.wanted) > 0 != c.look {
			t.Fatalf("%d: a flood %v, the controller is asked %v", i, f.on.Load(), len(f.wanted) > 0)
		}
		if c.look {
			<-f.wanted
		}
	}
	if n := f.times.Load(); n != 2 {
		t.Errorf("%d floods", n)
	}
	f.able.Store(false)
	f.end()
	if f.look(tick+1, useless+1e6); f.on.Load() {
		t.Error("there is one, and nothing to be done")
	}
}

// newFlood is what is known before one, and two peers more than can be preferred.
func newFlood() (*flood, []*peer) {
	f := &flood{}
	f.init()
	f.able.Store(true)
	peers := make([]*peer, maxPreferred+2)
	for i := range peers {
		peers[i] = &peer{}
	}
	return f, peers
}

// Peers are preferred while most that comes is good; their places are bounded, and given to others who send as
// little only after a second without.
func TestPreferred(t *testing.T) {
	f, peers := newFlood()
	if f.note(peers[0], 7, 5, 0); len(f.preferred(nil)) != 0 {
		t.Error("noted without a flood")
	}
	f.on.Store(true)
	f.note(peers[0], 7, 0, 5) // nothing good
	for _, p := range peers[:maxPreferred] {
		f.note(p, 7, 1, mostBad)
	}
	if got := f.preferred(nil); !slices.Equal(got, peers[:maxPreferred]) {
		t.Fatalf("%d are preferred", len(got))
	}
	f.note(peers[1], 7, 1, mostBad*2+mostBad) // in all 2 and 16
	f.note(peers[2], 8, 1, 0)
	if got := f.preferred(nil); len(got) != maxPreferred-1 || slices.Contains(got, peers[1]) {
		t.Errorf("%d are preferred", len(got))
	}
	another, one := peers[maxPreferred], peers[maxPreferred+1]
	if f.note(another, 7+preferredIdle-1, 1, 0); slices.Contains(f.preferred(nil), another) || f.beyond.Load() != 1 {
		t.Errorf("a place was taken away; %d had none", f.beyond.Load())
	}
	if f.note(another, 7+preferredIdle, 1, 0); !slices.Contains(f.preferred(nil), another) || slices.Contains(f.preferred(nil), peers[0]) {
		t.Error("the idlest one kept its place")
	}
	if f.note(one, 7+preferredIdle, 1, 0); !slices.Contains(f.preferred(nil), one) || !slices.Contains(f.preferred(nil), peers[2]) || f.beyond.Load() != 1 {
		t.Error("the second idlest did")
	}
	for range 5 { // 16 bad ones halved as often
		f.mu.Lock()
		f.age()
		f.mu.Unlock()
	}
	if f.note(peers[2], 30, 0, mostBad-1); !slices.Contains(f.preferred(nil), peers[2]) {
		t.Error("what was is not forgotten")
	}
	if f.stop(true); len(f.preferred(nil)) != 0 || f.peers[0].peer != nil || f.on.Load() {
		t.Error("stopped, and peers are held")
	}
}

// Peers that send little do not keep a place from one that sends much, however many they are: the one
// that sends least makes room in the next tick.
func TestPlacesAreOfThoseAtWork(t *testing.T) {
	f, peers := newFlood()
	f.on.Store(true)
	busy, little, late := peers[0], peers[maxPreferred], peers[maxPreferred+1]
	useless := uint64(0)
	tick := func(at clock.Time, some int) {
		f.note(busy, at, 1000, 0)
		for _, p := range peers[1:maxPreferred] {
			f.note(p, at, 2, 0)
		}
		for range some {
			f.note(late, at, 1, 0)
			f.note(little, at, 1, 0)
			f.note(late, at, 1, 0)
		}
		useless += floodPerTick
		f.look(at+1, useless)
	}
	for i := range 5 {
		if tick(clock.Time(100+i), rivalLead/4); slices.Contains(f.preferred(nil), late) || len(f.preferred(nil)) != maxPreferred {
			t.Fatal("a little more is enough")
		}
	}
	tick(105, 3*rivalLead)
	got := f.preferred(nil)
	if !slices.Contains(got, late) || !slices.Contains(got, busy) || slices.Contains(got, little) || len(got) != maxPreferred {
		t.Errorf("%d are preferred; who sends much is: %v, who did: %v, who sends little: %v", len(got), slices.Contains(got, late), slices.Contains(got, busy), slices.Contains(got, little))
	}
	if f.stop(true); f.rival.peer != nil {
		t.Error("stopped, and a peer is held")
	}
}

// siege is hub a with b, which is at work, and c, whose session is flooded with duplicates.
type siege struct {
	t       *testing.T
	lan     *lan
	a, b, c *host
	dup     []byte
	sent    int
	read    uint64 // of duplicates by a, at last
}

func newSiege(t *testing.T) *siege { return newLoggedSiege(t, nil) }

// newLoggedSiege has a logger for a.
func newLoggedSiege(t *testing.T, log *slog.Logger) *siege {
	l := newLAN(t)
	l.lanes = true
	l.SetQueue(1 << 20)
	opts := Options{Clock: clock.Virtual(), Workers: -1}
	hub := opts
	hub.Logger = log
	s := &siege{t: t, lan: l, a: newHost(t, l, 1, hub), b: newHost(t, l, 2, opts), c: newHost(t, l, 3, opts)}
	s.a.knows(s.b, s.c)
	s.b.knows(s.a)
	s.c.knows(s.a)
	s.work(s.b)
	s.work(s.c)
	for _, d := range l.reset() {
		if d.from == s.c.outer && noise.Classify(d.data) == noise.TypeTransport {
			s.dup = d.data
		}
	}
	return s
}

// work sends something to a that has to arrive.
func (s *siege) work(from *host) {
	s.t.Helper()
	s.sent++
	p := from.packet4(s.a, fmt.Sprint(s.sent))
	from.send(p)
	s.a.wantReceived(p)
}

// tick has n duplicates come, then something of b, and waits for the next tick. It gives how many
// duplicates were read.
func (s *siege) tick(n int) (read int) {
	s.t.Helper()
	for range n {
		s.lan.inject(s.c.outer, s.a.outer, 0, s.dup)
	}
	s.work(s.b)
	now := s.a.drops(DropReplay)
	read, s.read = int(now-s.read), now
	sleep(time.Duration(timers.Tick))
	return read
}

// last is the labels that a's sockets were told last.
func (s *siege) last() []conn.Label {
	s.t.Helper()
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	if n := len(s.a.net.labels); n > 0 {
		return s.a.net.labels[n-1]
	}
	s.t.Fatal("nothing is preferred")
	return nil
}

// keysOf is the labels of a's sessions with o.
func (s *siege) keysOf(o *host) (labels []conn.Label) {
	s.a.d.do(func() {
		for _, k := range s.a.peer(o).keypairs() {
			if k != nil {
				labels = append(labels, conn.Label(binary.LittleEndian.AppendUint32(nil, k.keys.LocalIndex)))
			}
		}
	})
	slices.SortFunc(labels, func(a, b conn.Label) int { return slices.Compare(a[:], b[:]) })
	return labels
}

// Beside a flood of duplicates the peer at work has a socket for itself: all of it is delivered, while a tick's share of
// the flood is read; also under a new key, from its first packet on, and with other sockets. After the flood all is
// as before.
func TestFloodIsParted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t)
		behind := &s.a.d.readerCounts.behind
		behind.Store(1)
		s.a.d.readerCounts.busy.Store(math.MaxInt64) // for ever
		defer behind.Store(0)
		for range 10 {
			if n := s.tick(floodPerTick / 2); n != floodPerTick/2 || len(s.a.net.labels) != 0 {
				t.Fatalf("%d were read, and preferred %x, without a flood", n, s.a.net.labels)
			}
		}
		s.tick(2 * floodPerTick)
		for range 3 {
			s.tick(2 * floodPerTick)
		}
		if got, want := s.last(), s.keysOf(s.b); !slices.Equal(got, want) || len(want) != 1 {
			t.Fatalf("preferred are %x, want %x", got, want)
		}
		if got := s.a.d.Stats().Flood; got != (FloodStats{On: true, Times: 1, Preferred: 1}) {
			t.Errorf("%+v", got)
		}
		told := len(s.a.net.labels)
		s.tick(0) // the rest of the last tick
		for range 3 {
			if n := s.tick(4 * restPerTick); n < restPerTick || n > restPerTick+receiveSlots*maxMerged {
				t.Errorf("%d duplicates were read, want %d", n, restPerTick)
			}
		}
		if len(s.a.net.labels) != told {
			t.Errorf("told again: %x", s.a.net.labels[told:])
		}

		// A session of b's that is new to it, not to the flood.
		s.b.configure(&config.Update{ReplacePeers: true})
		s.b.knows(s.a)
		s.work(s.b)
		if got, want := s.last(), s.keysOf(s.b); !slices.Equal(got, want) || len(want) != 2 {
			t.Errorf("preferred are %x, want %x", got, want)
		}

		// Other sockets, which know nothing yet.
		s.a.outer = netip.AddrPortFrom(s.a.outer.Addr(), 4000)
		s.a.configure(&config.Update{HasListenPort: true, ListenPort: 4000})
		s.a.d.do(func() {
			if s.a.d.controller.labels != nil {
				t.Error("they are taken for the sockets before")
			}
		})
		s.b.configure(&config.Update{Peers: []config.PeerUpdate{peerOf(s.a)}})
		told = len(s.a.net.labels)
		for range 3 {
			s.tick(4 * restPerTick)
		}
		if got, want := s.last(), s.keysOf(s.b); len(s.a.net.labels) == told || !slices.Equal(got, want) {
			t.Errorf("of other sockets preferred are %x, want %x", got, want)
		}

		behind.Store(0)
		for range floodCalm + 8 { // some is still to be read
			s.tick(0)
		}
		if got := s.last(); len(got) != 0 {
			t.Errorf("after the flood preferred are %x", got)
		}
		if got := s.a.d.Stats().Flood; got != (FloodStats{Times: 2}) {
			t.Errorf("%+v", got)
		}
	})
}

// A peer that is flooded with its own duplicates is not preferred, whatever good it sends.
func TestFloodedPeerIsNotPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t)
		for range 5 {
			s.tick(2 * floodPerTick)
			s.work(s.c)
		}
		if got, want := s.last(), s.keysOf(s.b); !slices.Equal(got, want) {
			t.Errorf("preferred are %x, want %x", got, want)
		}
	})
}

// Neither is one that is flooded with counters beyond all, of which nothing is opened.
func TestFloodBeyondAllCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t)
		binary.LittleEndian.PutUint64(s.dup[8:], timers.RejectAfterMessages)
		for range 5 {
			s.tick(2 * floodPerTick)
			s.work(s.c)
		}
		if got, want := s.last(), s.keysOf(s.b); !slices.Equal(got, want) {
			t.Errorf("preferred are %x, want %x", got, want)
		}
		if s.a.drops(DropKeyExpired) < 8*floodPerTick {
			t.Errorf("dropped as %s", s.a.allDrops())
		}
	})
}

// A key that is dead is not preferred: what comes with it is a flood.
func TestDeadKeysAreNotPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t)
		dead := s.keysOf(s.b)
		sleep(timers.RejectAfterTime)
		for range 5 {
			s.tick(2 * floodPerTick)
		}
		all := s.keysOf(s.b)
		if got := s.last(); len(all) != 2 || len(got) != 1 || slices.Equal(got, dead) || !slices.Contains(all, got[0]) {
			t.Errorf("preferred are %x, of %x with %x dead", got, all, dead)
		}
	})
}

// A reader that was held up between the count and the look takes nothing for a flood.
func TestCountsThatCrossAreNoFlood(t *testing.T) {
	var f flood
	f.init()
	f.able.Store(true)
	for i, n := range []uint64{100, 210, 200, 220} {
		f.look(clock.Time(1000+i), n)
	}
	if f.on.Load() || f.times.Load() != 0 {
		t.Error("there is a flood")
	}
}

// A system that does not take it is told again in the next tick, after the flood too.
func TestPreferringIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t)
		s.a.net.unable = 2
		for range 5 {
			s.tick(2 * floodPerTick)
		}
		if got, want := s.last(), s.keysOf(s.b); !slices.Equal(got, want) {
			t.Errorf("preferred are %x, want %x", got, want)
		}
		s.a.net.unable = 3
		for range floodCalm + 5 {
			s.tick(0)
		}
		if got := s.last(); s.a.net.unable != 0 || len(got) != 0 {
			t.Errorf("after the flood preferred are %x", got)
		}
		told := len(s.a.net.labels)
		for range 3 {
			s.tick(0)
		}
		if len(s.a.net.labels) != told || s.a.d.flood.untold.Load() {
			t.Error("it is told again and again")
		}
	})
}

// A flood is told of when it begins and when it is over, whatever becomes of the peers meanwhile.
func TestFloodIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &strings.Builder{}
		s := newLoggedSiege(t, slog.New(slog.NewTextHandler(log, nil)))
		said := func(begun, over int) {
			t.Helper()
			if b, o := strings.Count(log.String(), "a flood of"), strings.Count(log.String(), "the flood is over"); b != begun || o != over {
				t.Fatalf("%d times it has begun, and %d times it is over:\n%s", b, o, log)
			}
		}
		said(0, 0)
		for i := range 9 { // b is preferred every other tick
			s.tick(2 * floodPerTick)
			f := &s.a.d.flood
			f.mu.Lock()
			f.peers[0].bad = 1 << 20 * uint32(i%2)
			f.mu.Unlock()
		}
		s.tick(2 * floodPerTick)
		if n := len(s.a.net.labels); n < 4 {
			t.Fatalf("preferred are %x", s.a.net.labels)
		}
		said(1, 0)
		for range floodCalm + 8 {
			s.tick(0)
		}
		said(1, 1)
	})
}
