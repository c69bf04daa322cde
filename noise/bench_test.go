package noise

import (
	"testing"
	"time"

	"culvert/device/config"
)

// measure reports what op costs, also in DHs of an identity measured in the same run.
func measure(b *testing.B, op func()) {
	b.ReportAllocs()
	for b.Loop() {
		op()
	}
	w := newWorld(b, 21, config.PresharedKey{})
	const n = 200
	began := time.Now()
	for range n {
		if _, err := w.a.StaticShared(w.toB.Static); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/(float64(time.Since(began))/n), "DHs")
}

func BenchmarkNewIdentity(b *testing.B) {
	measure(b, func() {
		if _, err := NewIdentity(&config.PrivateKey{1}); err != nil {
			b.Fatal(err)
		}
	})
}

// ss, when it is first needed; and every other DH of a static key of ours.
func BenchmarkStaticShared(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	measure(b, func() {
		if _, err := w.a.StaticShared(w.toB.Static); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkCreateInitiation(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	measure(b, func() {
		if _, err := CreateInitiation(w.rand, w.a, w.toB, indexA, stamp, &w.initiation); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkOpenInitiation(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	measure(b, func() {
		if _, err := w.b.OpenInitiation(w.initiation[:], w.find); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkCreateResponse(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	w.respond(b)
	measure(b, func() {
		in := w.opened
		if _, err := CreateResponse(w.rand, &in, w.toA, indexB, &w.response); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkOpenResponse(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	w.respond(b)
	measure(b, func() { w.finish(b) })
}

// sameBytes is randomness that is none: e is always the same, and so is what it
// writes, so that a response once made answers each initiation.
type sameBytes struct{}

func (sameBytes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0x55
	}
	return len(p), nil
}

// BenchmarkHandshake is a whole one on each side, without the network and the
// MACs of the own message.
func BenchmarkHandshake(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.rand = sameBytes{}
	w.initiate(b)
	w.respond(b)
	var h Hasher
	b.Run("initiator", func(b *testing.B) {
		measure(b, func() {
			var initiation [InitiationSize]byte
			state, err := CreateInitiation(w.rand, w.a, w.toB, indexA, stamp, &initiation)
			if err != nil {
				b.Fatal(err)
			}
			if !w.a.CheckMAC1(&h, w.response[:]) {
				b.Fatal("mac1 is wrong")
			}
			if _, err := w.a.OpenResponse(state, w.toB, w.response[:]); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("responder", func(b *testing.B) {
		measure(b, func() {
			if !w.b.CheckMAC1(&h, w.initiation[:]) {
				b.Fatal("mac1 is wrong")
			}
			in, err := w.b.OpenInitiation(w.initiation[:], w.find)
			if err != nil {
				b.Fatal(err)
			}
			var response [ResponseSize]byte
			if _, err := CreateResponse(w.rand, &in, w.toA, indexB, &response); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkCheckMAC1(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	var h Hasher
	measure(b, func() {
		if !w.b.CheckMAC1(&h, w.initiation[:]) {
			b.Fatal("mac1 is wrong")
		}
	})
}

func BenchmarkCheckMAC2(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	c := NewCookieChecker(w.b.PublicKey())
	measure(b, func() {
		if c.CheckMAC2(start, w.rand, w.initiation[:], home) {
			b.Fatal("mac2 is good")
		}
	})
}

func BenchmarkCreateReply(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	c := NewCookieChecker(w.b.PublicKey())
	var reply [CookieReplySize]byte
	measure(b, func() {
		if err := c.CreateReply(start, w.rand, w.initiation[:], home, &reply); err != nil {
			b.Fatal(err)
		}
	})
}
