package tun_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/tun"
	"culvert/tun/tuntest"

	"golang.org/x/sys/unix"
)

// read is a packet that came out of a queue, or how reading that queue ended.
type read struct {
	queue  int
	packet []byte
	err    error
}

// readAll reads every queue of d until it ends.
func readAll(d tun.Device) <-chan read {
	ch := make(chan read)
	for i, r := range d.Readers() {
		go func() { // ends with the interface; the test takes what it sends
			for {
				var p tun.Packet
				if err := r.Read(&p); err != nil {
					ch <- read{queue: i, err: err}
					return
				}
				ch <- read{queue: i, packet: append([]byte(nil), p.Bytes()...)}
			}
		}()
	}
	return ch
}

// wantEnds waits until every queue has ended with want.
func wantEnds(t *testing.T, ch <-chan read, queues int, want error) {
	t.Helper()
	for range queues {
		if r := <-ch; !errors.Is(r.err, want) {
			t.Errorf("queue %d ended with %v, want %v", r.queue, r.err, want)
		}
	}
}

// A flow stays in its queue, and so in order, whatever is written of it and
// through which file; and the flows are spread over the queues.
func TestFlowsKeepTheirQueues(t *testing.T) {
	const queues, flows = 4, 32
	n := newNetns(t)
	d := create(t, n, tun.Options{Queues: queues})
	if len(d.Readers()) != queues {
		t.Fatalf("%d readers", len(d.Readers()))
	}
	n.ip(t, "addr add 10.1.0.1/24 dev "+d.Name())
	n.ip(t, "link set "+d.Name()+" up")
	us, them := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddrPort("10.1.0.2:2000")
	sockets := make([]*net.UDPConn, flows)
	n.do(t, func() error {
		for i := range sockets {
			var err error
			if sockets[i], err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(us, uint16(3000+i))), net.UDPAddrFromAddrPort(them)); err != nil {
				return err
			}
			t.Cleanup(func() { sockets[i].Close() })
		}
		return nil
	})
	ch := readAll(d)
	queue, used := map[uint16]int{}, map[int]bool{}
	for round := range queues + 2 {
		for i, s := range sockets {
			if _, err := s.Write(binary.BigEndian.AppendUint32(nil, uint32(round))); err != nil {
				t.Fatal(err)
			}
			got := <-ch
			port := binary.BigEndian.Uint16(got.packet[20:])
			if port != uint16(3000+i) || binary.BigEndian.Uint32(got.packet[28:]) != uint32(round) {
				t.Fatalf("round %d: packet %x of port %d", round, got.packet, port)
			}
			if before, ok := queue[port]; ok && before != got.queue {
				t.Fatalf("round %d: port %d moved from queue %d to %d", round, port, before, got.queue)
			}
			queue[port], used[got.queue] = got.queue, true
			// The answer, each round through another file.
			answer := tuntest.UDP(them, netip.AddrPortFrom(us, port), []byte("answer"))
			if taken, err := d.(tun.Sharded).WriteFrom(round, withHeadroom([][]byte{answer}), tun.Headroom); taken != 1 || err != nil {
				t.Fatalf("took %d, %v", taken, err)
			}
			if m, err := s.Read(make([]byte, 100)); m != len("answer") || err != nil {
				t.Fatalf("answer of %d bytes, %v", m, err)
			}
		}
	}
	if len(used) < 2 {
		t.Errorf("%d flows are all in one queue", flows)
	}
	d.Close()
	wantEnds(t, ch, queues, os.ErrClosed)
}

// What is written one after the other through different files arrives in order.
func TestWritesThroughManyFilesKeepOrder(t *testing.T) {
	const packets = 64 // fit in the socket's buffer
	n := newNetns(t)
	d := create(t, n, tun.Options{Queues: 3})
	n.ip(t, "addr add 10.1.0.1/24 dev "+d.Name())
	n.ip(t, "link set "+d.Name()+" up")
	var s *net.UDPConn
	n.do(t, func() (err error) {
		s, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 4000})
		return err
	})
	defer s.Close()
	// A goroutine of its own on a thread of its own for each file, in turn.
	turns := make([]chan uint32, 3)
	done := make(chan error)
	for i := range turns {
		turns[i] = make(chan uint32)
		go func() { // ends when its channel is closed
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for k := range turns[i] {
				packet := tuntest.UDP(netip.MustParseAddrPort("10.1.0.2:2000"), netip.MustParseAddrPort("10.1.0.1:4000"), binary.BigEndian.AppendUint32(nil, k))
				_, err := d.(tun.Sharded).WriteFrom(i, withHeadroom([][]byte{packet}), tun.Headroom)
				done <- err
			}
		}()
	}
	for k := range uint32(packets) {
		turns[k%3] <- k
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, turn := range turns {
		close(turn)
	}
	for k := range uint32(packets) {
		b := make([]byte, 100)
		if m, err := s.Read(b); m != 4 || err != nil || binary.BigEndian.Uint32(b) != k {
			t.Fatalf("%x, %v; want %d", b[:m], err, k)
		}
	}
}

// The life of an interface with several queues is that of one with one.
func TestQueuesFollowTheLink(t *testing.T) {
	const queues = 3
	n := newNetns(t)
	d := create(t, n, tun.Options{Queues: queues})
	ch := readAll(d)
	wantEvent(t, d, down)
	if _, err := d.Write(withHeadroom(stream(1, 100)), tun.Headroom); !errors.Is(err, unix.EIO) {
		t.Errorf("write while down: %v", err)
	}
	for range 2 {
		n.ip(t, "link set "+d.Name()+" up")
		wantEvent(t, d, up)
		n.ip(t, "link set "+d.Name()+" down")
		wantEvent(t, d, down)
	}
	n.ip(t, "link set "+d.Name()+" mtu 1280")
	wantEvent(t, d, mtu(1280))
	if s := d.(tun.StatsSource).Stats(); !s.ReadTSO || !s.MergeTCP4 {
		t.Errorf("offloads %+v", s)
	}
	n.ip(t, "link del "+d.Name())
	wantEnds(t, ch, queues, tun.ErrDeleted)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// Close gives every file back, and the interface with the last.
func TestQueuesAreClosed(t *testing.T) {
	n := newNetns(t)
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	create(t, n, tun.Options{}).Close() // the runtime's poller and such are there from now on
	before := fds()
	d := create(t, n, tun.Options{Queues: 5})
	if opened := fds() - before; opened < 10 {
		t.Errorf("%d files opened for 5 queues", opened)
	}
	ch, name := readAll(d), d.Name()
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wantEnds(t, ch, 5, os.ErrClosed)
	if _, err := d.(tun.Sharded).WriteFrom(1, withHeadroom(stream(1, 10)), tun.Headroom); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if out := n.ip(t, "link show"); strings.Contains(out, name) {
		t.Errorf("%s is still there: %s", name, out)
	}
	for deadline := time.Now().Add(patience); fds() != before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d files open, %d before", fds(), before)
		}
	}
}

// An interface with several queues is nobody else's: a second process does not
// attach to it and take some of its packets. Nor is one that is there already,
// or that was handed down, given more queues.
func TestQueuesAreRefused(t *testing.T) {
	n := newNetns(t)
	several, single := create(t, n, tun.Options{Queues: 2}), create(t, n, tun.Options{})
	n.ip(t, "tuntap add dev old0 mode tun")
	n.ip(t, "tuntap add dev old1 mode tun multi_queue")
	defer n.ip(t, "link del old0")
	defer n.ip(t, "link del old1")
	for _, c := range []struct {
		name   string
		queues int
	}{{several.Name(), 2}, {several.Name(), 1}, {single.Name(), 2}, {"old0", 2}, {"old1", 2}, {"new0", tun.MaxQueues + 1}} {
		n.do(t, func() error {
			d, err := tun.Create(c.name, 1420, tun.Options{Queues: c.queues})
			if err == nil {
				d.Close()
				t.Errorf("%s made with %d queues", c.name, c.queues)
			} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", c.name)) {
				t.Errorf("error %q does not name %s", err, c.name)
			}
			return nil
		})
	}
	f := open(t, n, "inherit0", unix.IFF_TUN|unix.IFF_NO_PI)
	if _, err := tun.FromFile(f, 1400, tun.Options{Queues: 2}); err == nil || !strings.Contains(err.Error(), "use one") {
		t.Errorf("inherited file with 2 queues: %v", err)
	}
}

func TestMostQueues(t *testing.T) {
	d := create(t, newNetns(t), tun.Options{Queues: tun.MaxQueues})
	if n := len(d.Readers()); n != tun.MaxQueues {
		t.Errorf("%d readers", n)
	}
}

// BenchmarkWriteFiles is goroutines writing packets that the kernel drops
// (nobody listens) through one file, or through one each: compare -cpu 1 and 2.
func BenchmarkWriteFiles(b *testing.B) {
	for name, files := range map[string]int{"one": 1, "own": 8} {
		b.Run(name, func(b *testing.B) {
			d, err := tun.Create("cvb%d", 1420, tun.Options{Queues: 8})
			if err != nil {
				b.Skip(err)
			}
			defer d.Close()
			if out, err := exec.Command("ip", "link", "set", d.Name(), "up").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			cpu := func() float64 { // used, in ns: other programs disturb it less than time
				var u unix.Rusage
				if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
					b.Fatal(err)
				}
				return float64(u.Utime.Nano() + u.Stime.Nano())
			}
			var started atomic.Int32
			used := cpu()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				shard := int(started.Add(1)) % files
				packet := tuntest.UDP(netip.MustParseAddrPort("198.51.100.1:2000"), netip.MustParseAddrPort("198.51.100.2:4000"), make([]byte, 100))
				bufs := withHeadroom([][]byte{packet})
				for pb.Next() {
					if _, err := d.(tun.Sharded).WriteFrom(shard, bufs, tun.Headroom); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric((cpu()-used)/float64(b.N), "cpu-ns/op")
		})
	}
}
