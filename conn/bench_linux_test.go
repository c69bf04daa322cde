package conn

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

const benchDatagram = 1452 // a full packet of an MTU of 1420

// benchmarkLoop moves datagrams from one socket to another of the loopback
// interface, count at a time, and tells what a datagram costs.
func benchmarkLoop(b *testing.B, n Network, f family, size, count int) {
	tx, rx := mustListen(b, n), mustListen(b, n)
	r := receiver(b, rx, f)
	batch := NewBatch(128)
	runs := []Run{{Data: payload(size * count), Segment: size, To: &Endpoint{Remote: loopback(f, rx.Port())}}}
	b.ReportAllocs()
	for b.Loop() {
		tx.Send(runs)
		for got := 0; got < size*count; {
			if err := r.Receive(batch); err != nil {
				b.Fatal(err)
			}
			for i := range batch.Messages {
				got += len(batch.Messages[i].Data)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/datagram")
}

func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name string
		net  Network
	}{
		{"GSO+GRO", System(Options{})},
		{"plain", System(Options{NoGSO: true, NoGRO: true})},
		{"portable", Portable()},
	} {
		for _, f := range []family{ipv4, ipv6} {
			for _, count := range []int{1, 40} {
				b.Run(fmt.Sprintf("%s/%v/%d", c.name, f, count), func(b *testing.B) {
					benchmarkLoop(b, c.net, f, benchDatagram, count)
				})
			}
		}
	}
}

// BenchmarkSend is what Send itself costs: nobody takes the datagrams, which
// the loopback interface drops as soon as the receive buffer is full.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name string
		opts Options
	}{{"GSO", Options{}}, {"plain", Options{NoGSO: true}}} {
		for _, sticky := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/sticky=%v", c.name, sticky), func(b *testing.B) {
				tx, rx := mustListen(b, System(c.opts)), mustListen(b, System(c.opts))
				const count = 40
				to := &Endpoint{Remote: loopback(ipv4, rx.Port())}
				if sticky {
					to.Local, to.IfIndex = to.Remote.Addr(), 1
				}
				runs := []Run{{Data: payload(benchDatagram * count), Segment: benchDatagram, To: to}}
				b.ReportAllocs()
				for b.Loop() {
					tx.Send(runs)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/datagram")
			})
		}
	}
}

// BenchmarkPrepare is what Send costs without the kernel: 64 runs of one
// datagram each, with a sticky source.
func BenchmarkPrepare(b *testing.B) {
	sys := kernel
	sys.sendmmsg = func(_ uintptr, msgs []mmsghdr) (int, unix.Errno) { return len(msgs), 0 }
	s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	to := loopback(ipv4, 9)
	e := &Endpoint{Remote: to, Local: to.Addr(), IfIndex: 1}
	runs := make([]Run, 64)
	for i := range runs {
		runs[i] = Run{Data: payload(100), Segment: 100, To: e, TOS: 2}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Send(runs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(runs)), "ns/datagram")
}

// BenchmarkRouteCheck is what an endpoint costs on its first use after a
// change of routes.
func BenchmarkRouteCheck(b *testing.B) {
	s := mustListen(b, System(Options{})).(*linuxSockets)
	if s.routes.query == nil {
		b.Skip("no netlink")
	}
	to := loopback(ipv4, 9)
	req := routeRequest{remote: to, local: to.Addr(), port: s.Port(), learnedOn: 1}
	for b.Loop() {
		if !s.routes.query.good(req) {
			b.Fatal("loopback source refused")
		}
	}
}
