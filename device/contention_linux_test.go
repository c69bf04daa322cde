package device

import (
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"testing"

	"culvert/conn"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// BenchmarkShared is what several readers share, one operation each: compare
// -cpu 1 with -cpu 2 and more (every goroutine uses the same peer). Per batch
// unless its name says otherwise.
func BenchmarkShared(b *testing.B) {
	r := newRig(b, 1, Options{Workers: -1})
	rp, d := r.peers[0], r.d
	p, k, now := rp.p, rp.key, d.clock.Now()
	message := &conn.Message{Remote: rp.outer}
	p.learn(message)
	items := pool[int]{budget: &d.budget, size: 1, max: 1 << 10, users: 64, keep: 64, make: func() *int { return new(int) }, drop: func(*int) {}, short: func() {}, wake: func() {}}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"route (packet)", func() { d.routes.Lookup(rp.inner4.Addr()) }},
		{"receiver index (packet)", func() { d.index.get(k.keys.LocalIndex) }},
		{"send key, endpoint", func() { p.sendKey.Load(); p.endpoint.Load() }},
		{"endpoint compare", func() { p.learn(message) }},
		{"keypair hold and release", func() { k.acquire(); k.release() }},
		{"counter reservation", func() { k.next.Add(1) }},
		{"activity", func() { p.activity.sent(now, true) }},
		{"bytes sent", func() { p.tx.Add(1) }},
		{"turn", func() { p.out.enter(); p.out.leave() }},
		{"pool get and put", func() { items.put(items.get()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.f()
				}
			})
		})
	}
}

// BenchmarkSharedPeer is a drain of 64 packets by every goroutine, up to the
// network, to one peer or to a peer of its own each: compare both with -cpu 1 and
// -cpu 2. What sharing costs is processor time of a packet, which other programs on
// the machine disturb less than time.
func BenchmarkSharedPeer(b *testing.B) {
	for name, peers := range map[string]int{"one peer": 1, "own peers": 16} {
		for _, size := range []int{1420, 64} {
			b.Run(name+map[int]string{1420: " 1420", 64: " 64"}[size], func(b *testing.B) {
				r := newRig(b, peers, Options{Workers: -1})
				var started atomic.Int32
				waited, used := mutexWait(), cpuTime()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					i := int(started.Add(1)) % peers
					packets := make([]tun.Packet, 64)
					for n := range packets {
						packets[n].SetBytes(tuntest.UDP(r.peers[i].inner4, r.peers[i].inner4, make([]byte, size-28)))
					}
					mine := *r
					mine.out = &outbound{d: r.d, now: r.d.clock.Now(), mtu: 1420, load: r.d.newLoad()}
					for pb.Next() {
						mine.runOutbound(packets)
					}
				})
				b.ReportMetric(1e9*(cpuTime()-used)/float64(b.N*64), "cpu-ns/packet")
				b.ReportMetric(1e9*(mutexWait()-waited)/float64(b.N*64), "ns-waited/packet")
			})
		}
	}
}

// mutexWait is how long goroutines have waited for mutexes, in seconds.
func mutexWait() float64 {
	sample := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// cpuTime is what the process has used, in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
