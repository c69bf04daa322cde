package ratelimiter

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"culvert/internal/clock"
)

const start = clock.Time(1e9)

func at(ms int) clock.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// v4 is the n-th of many sources.
func v4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// 20 tokens a second, one every 50 ms; 5 at most.
func TestBucketTable(t *testing.T) {
	type step struct {
		ms   int
		want int // of 10 calls at that time, how many pass
	}
	for name, steps := range map[string][]step{
		"burst":             {{0, 5}, {0, 0}},
		"one more at 50 ms": {{0, 5}, {49, 0}, {50, 1}, {99, 0}, {100, 1}},
		"refill":            {{0, 5}, {249, 4}, {250, 1}, {500, 5}},
		"never more than 5": {{0, 5}, {900, 5}, {1899, 5}},
		"idle for long":     {{0, 5}, {100_000, 5}},
		"partly":            {{0, 5}, {125, 2}, {150, 1}, {199, 0}, {200, 1}},
	} {
		l := New()
		for _, s := range steps {
			got := 0
			for range 10 {
				if l.Allow(at(s.ms), addr("192.0.2.1")) {
					got++
				}
			}
			if got != s.want {
				t.Errorf("%s: at %d ms %d pass, want %d", name, s.ms, got, s.want)
			}
		}
	}
}

// A flood is let through at 20 a second, no matter how dense it is.
func TestSteadyRate(t *testing.T) {
	l := New()
	passed := 0
	for ms := range 10_000 {
		if l.Allow(at(ms), addr("2001:db8::1")) {
			passed++
		}
	}
	if want := Burst + 10*PerSecond - 1; passed != want { // the last token of all comes at 10,000 ms
		t.Errorf("%d pass in 10 s, want %d", passed, want)
	}
	if empty, full := l.Refused(); empty != uint64(10_000-passed) || full != 0 {
		t.Errorf("counted %d empty, %d full", empty, full)
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"0.0.0.0", "::", false},
		{"0.0.0.1", "::1", false},
		{"192.0.2.1", "0:0:c000:201::", false},
	} {
		l := New()
		for range Burst {
			l.Allow(start, addr(c.a))
		}
		if same := !l.Allow(start, addr(c.b)); same != c.same {
			t.Errorf("%s and %s share a bucket: %v, want %v", c.a, c.b, same, c.same)
		}
	}
}

func TestFullTableRefusesNewSources(t *testing.T) {
	l := New()
	for n := range uint32(MaxSources) {
		if !l.Allow(at(int(n/1000)), v4(n)) {
			t.Fatalf("source %d is refused", n)
		}
	}
	for n := range uint32(100) {
		if l.Allow(at(500), v4(MaxSources+n)) {
			t.Fatalf("source %d finds room", n)
		}
	}
	if !l.Allow(at(500), v4(0)) {
		t.Error("a source that has a bucket is refused")
	}
	if empty, full := l.Refused(); empty != 0 || full != 100 {
		t.Errorf("counted %d empty, %d full, want 0 and 100", empty, full)
	}
	if l.Sources() != MaxSources {
		t.Errorf("%d sources", l.Sources())
	}
	// The first thousand, but for source 0, have been idle for 1 s: just that many have room.
	passed := 0
	for n := range uint32(3000) {
		if l.Allow(at(1000), v4(2*MaxSources+n)) {
			passed++
		}
	}
	if passed != 999 {
		t.Errorf("%d sources find room, want 999", passed)
	}
}

func TestIdleSourcesGo(t *testing.T) {
	l := New()
	l.Allow(at(0), v4(1))
	l.Allow(at(500), v4(2))
	for _, c := range []struct{ ms, want int }{{999, 3}, {1000, 2}, {1499, 2}, {1500, 1}} {
		l.Allow(at(c.ms), v4(3))
		if l.Sources() != c.want {
			t.Errorf("at %d ms: %d sources, want %d", c.ms, l.Sources(), c.want)
		}
	}
	// A refused source is not idle: it would get a fresh burst otherwise.
	l = New()
	for ms := 0; ms < 3000; ms += 10 {
		l.Allow(at(ms), v4(1))
	}
	if empty, _ := l.Refused(); empty != 300-Burst-59 {
		t.Errorf("%d refused", empty)
	}
	// And an attack that is over leaves nothing behind.
	for n := range uint32(1000) {
		l.Allow(at(4000), v4(n))
	}
	l.Allow(at(6000), v4(1))
	if l.Sources() != 1 || cap(l.buckets) > 8 {
		t.Errorf("%d sources, room for %d", l.Sources(), cap(l.buckets))
	}
}

// model is a limiter that forgets no one and whose buckets count in fractions of tokens.
type model map[source]*struct {
	tokens int64 // in nanoseconds, 50 ms each
	last   clock.Time
}

func (m model) allow(now clock.Time, src netip.Addr) bool {
	const token = int64(50 * time.Millisecond)
	b := m[sourceOf(src)]
	if b == nil {
		b = &struct {
			tokens int64
			last   clock.Time
		}{5 * token, now}
		m[sourceOf(src)] = b
	}
	b.tokens = min(5*token, b.tokens+int64(now-b.last))
	b.last = now
	if b.tokens < token {
		return false
	}
	b.tokens -= token
	return true
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		l, m := New(), model{}
		now := start
		sources := 1 + r.Uint32N(100)
		for i := range 20_000 {
			switch r.IntN(50) {
			case 0:
				now = now.Add(time.Duration(r.Int64N(int64(3 * time.Second))))
			case 1, 2, 3, 4, 5, 6, 7, 8, 9:
				now = now.Add(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
			}
			src := v4(r.Uint32N(sources))
			if got, want := l.Allow(now, src), m.allow(now, src); got != want {
				t.Fatalf("seed %d, step %d, %v at %v: %v, want %v", seed, i, src, now, got, want)
			}
			check(t, l, now)
		}
	}
}

// check verifies what must hold after every call.
func check(t *testing.T, l *Limiter, now clock.Time) {
	t.Helper()
	n, last := 0, clock.Time(0)
	for i := l.buckets[0].next; i != 0; i = l.buckets[i].next {
		b := &l.buckets[i]
		if l.index[b.source] != i || b.seen < last || now-b.seen >= idle || l.buckets[b.next].prev != i {
			t.Fatalf("bucket %d is out of order: %+v", i, *b)
		}
		last = b.seen
		n++
	}
	free := 0
	for i := l.free; i != 0; i = l.buckets[i].next {
		free++
	}
	if n != len(l.index) || n+free+1 != len(l.buckets) {
		t.Fatalf("%d in the ring, %d in the index, %d free, %d in all", n, len(l.index), free, len(l.buckets))
	}
}

func TestMemory(t *testing.T) {
	if s := unsafe.Sizeof(bucket{}); s != 32 {
		t.Errorf("a bucket takes %d bytes, want 32", s)
	}
	l := New()
	l.Allow(start, v4(1))
	if n := testing.AllocsPerRun(100, func() { l.Allow(start, v4(1)) }); n != 0 {
		t.Errorf("%v allocations for a known source", n)
	}
}

func BenchmarkAllowFlood(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for n := uint32(0); b.Loop(); n++ {
		l.Allow(start+clock.Time(n)*1000, v4(n)) // a million sources a second
	}
}
