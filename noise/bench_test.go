package noise

import (
	"testing"

	"culvert/device/config"
)

func BenchmarkNewIdentity(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewIdentity(config.PrivateKey{1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStaticShared(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.a.StaticShared(w.toB.Static); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateInitiation(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CreateInitiation(w.rand, w.a, w.toB, indexA, stamp, &w.initiation); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenInitiation(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.b.OpenInitiation(w.initiation[:], w.find); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateResponse(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	w.respond(b)
	b.ReportAllocs()
	for b.Loop() {
		in := w.opened
		if _, err := CreateResponse(w.rand, &in, w.toA, indexB, &w.response); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenResponse(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	w.respond(b)
	b.ReportAllocs()
	for b.Loop() {
		w.finish(b)
	}
}

func BenchmarkCheckMAC1(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	var h Hasher
	b.ReportAllocs()
	for b.Loop() {
		if !w.b.CheckMAC1(&h, w.initiation[:]) {
			b.Fatal("mac1 is wrong")
		}
	}
}

func BenchmarkCheckMAC2(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	c := NewCookieChecker(w.b.PublicKey())
	b.ReportAllocs()
	for b.Loop() {
		if c.CheckMAC2(start, w.rand, w.initiation[:], home) {
			b.Fatal("mac2 is good")
		}
	}
}

func BenchmarkCreateReply(b *testing.B) {
	w := newWorld(b, 20, config.PresharedKey{})
	w.initiate(b)
	c := NewCookieChecker(w.b.PublicKey())
	var reply [CookieReplySize]byte
	b.ReportAllocs()
	for b.Loop() {
		if err := c.CreateReply(start, w.rand, w.initiation[:], home, &reply); err != nil {
			b.Fatal(err)
		}
	}
}
