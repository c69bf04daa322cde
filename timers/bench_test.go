package timers

import (
	"testing"
	"time"
)

const benchPeers = 1 << 16

func armed(b *testing.B) *pair {
	p := newPair(b, start, benchPeers)
	for i := range p.items {
		p.arm(i, deadline(p.now, i))
	}
	return p
}

// deadline spreads peers over 5 to 37 s.
func deadline(now Time, i int) Time {
	return now.Add(5*time.Second + time.Duration(int64(i)*2654435761%(32<<30)))
}

// BenchmarkArm moves the deadline of an armed entry.
func BenchmarkArm(b *testing.B) {
	p := armed(b)
	b.ResetTimer()
	for i := range b.N {
		p.w.Arm(&p.items[i%benchPeers].entry, deadline(p.now, i*7))
	}
}

func BenchmarkArmDisarm(b *testing.B) {
	p := newPair(b, start, benchPeers)
	b.ResetTimer()
	for i := range b.N {
		e := &p.items[i%benchPeers].entry
		p.w.Arm(e, deadline(p.now, i))
		p.w.Disarm(e)
	}
}

// BenchmarkFire is one firing that arms itself again, among 65,536 peers.
func BenchmarkFire(b *testing.B) {
	p := armed(b)
	b.ResetTimer()
	for n := 0; n < b.N; {
		next, _ := p.w.Next()
		p.w.Expire(next, func(it *item) {
			p.w.Arm(&it.entry, deadline(next, it.id))
			n++
		})
	}
}

// BenchmarkExpireNothing is what a call costs that comes within a tick.
func BenchmarkExpireNothing(b *testing.B) {
	p := armed(b)
	for range b.N {
		p.w.Expire(p.now, func(*item) {})
	}
}

// BenchmarkNext has one entry, nearly a revolution ahead.
func BenchmarkNext(b *testing.B) {
	p := newPair(b, start, 1)
	p.arm(0, p.now+4000*Tick)
	for range b.N {
		p.w.Next()
	}
}
