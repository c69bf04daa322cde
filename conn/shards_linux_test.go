package conn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// got is a datagram, and which receiver it came out of.
type got struct {
	by   int
	from netip.AddrPort
	n    uint32
}

// receiveAll has every receiver of s read until s is closed; the second result
// waits for their ends.
func receiveAll(s Sockets) (<-chan got, func()) {
	ch, wg := make(chan got), new(sync.WaitGroup)
	for i, r := range s.Receivers() {
		wg.Go(func() { // ends when s is closed
			b := NewBatch(4)
			for r.Receive(b) == nil {
				for _, m := range b.Messages {
					for data := m.Data; len(data) > 0; data = data[min(m.Segment, len(data)):] {
						ch <- got{i, m.Remote, binary.BigEndian.Uint32(data)}
					}
				}
			}
		})
	}
	return ch, wg.Wait
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// What one sender sends comes out of one receiver, in order, and not everybody's
// out of the same; every receiver ends with Close.
func TestShardsKeepSendersTogether(t *testing.T) {
	const queues, senders, each = 4, 32, 50
	for _, f := range []family{ipv4, ipv6} {
		t.Run(f.String(), func(t *testing.T) {
			s := mustListen(t, NewLinux(Options{Queues: queues}))
			if n := len(s.Receivers()); n != 2*queues {
				t.Skipf("need IPv4 and IPv6 on this machine, have %d sockets", n)
			}
			needLoopback(t, f)
			ch, ended := receiveAll(s)
			from := make([]Sockets, senders)
			for i := range from {
				from[i] = mustListen(t, NewLinux(Options{}))
			}
			by, next, used := map[netip.AddrPort]int{}, map[netip.AddrPort]uint32{}, map[int]bool{}
			for n := range uint32(each) {
				for _, x := range from {
					mustSend(t, x, Run{Data: number(n), Segment: 4, To: &Endpoint{Remote: loopback(f, s.Port())}})
				}
				for range from {
					g := <-ch
					if n > 0 && g.by != by[g.from] {
						t.Fatalf("%v changed from receiver %d to %d", g.from, by[g.from], g.by)
					}
					if (g.by < queues) != (f == ipv4) {
						t.Fatalf("receiver %d got %v", g.by, f)
					}
					if g.n != next[g.from] {
						t.Fatalf("%v: datagram %d came as number %d", g.from, g.n, next[g.from])
					}
					by[g.from], used[g.by] = g.by, true
					next[g.from]++
				}
			}
			if len(used) < 2 {
				t.Errorf("all of %d senders went to one receiver", senders)
			}
			s.Close()
			ended()
		})
	}
}

// Every shard sends from the same port, and from the address it is told to.
func TestShardsSendFromOnePort(t *testing.T) {
	ns := newNamespace(t)
	ns.ip("addr add 127.0.0.77/32 dev lo")
	s, to := ns.listen(NewLinux(Options{Queues: 3}), 0, 0), ns.listen(NewLinux(Options{}), 0, 0)
	r, b := receiver(t, to, ipv4), NewBatch(4)
	source := netip.MustParseAddr("127.0.0.77")
	used := map[*linuxSocket]int{}
	for shard := range 7 { // more than there are: counted round
		runs := []Run{{Data: number(9), Segment: 4, To: &Endpoint{Remote: loopback(ipv4, to.Port()), Local: source}}}
		used[s.(*linuxSockets).shard(shard).v4]++
		s.(Sharded).SendFrom(shard, runs)
		if runs[0].Err != nil || runs[0].SourceLost {
			t.Fatalf("shard %d: %v, source lost %v", shard, runs[0].Err, runs[0].SourceLost)
		}
		if _, m := collect(t, r, b, 4); m.Remote != netip.AddrPortFrom(source, s.Port()) {
			t.Errorf("shard %d sends from %v, not port %d", shard, m.Remote, s.Port())
		}
	}
	if len(used) != 3 {
		t.Errorf("%d sockets are used for 3 shards", len(used))
	}
	s.Close()
	runs := []Run{{Data: number(1), Segment: 4, To: &Endpoint{Remote: loopback(ipv4, to.Port())}}}
	if s.(Sharded).SendFrom(1, runs); !errors.Is(runs[0].Err, net.ErrClosed) {
		t.Errorf("after Close: %v", runs[0].Err)
	}
}

// The mark is on every socket, at the start and when it changes.
func TestShardsHaveTheMark(t *testing.T) {
	ns := newNamespace(t)
	s := ns.listen(NewLinux(Options{Queues: 3}), 0, 7)
	want := func(mark int) {
		t.Helper()
		count := 0
		s.(*linuxSockets).each(func(sock *linuxSocket) error {
			count++
			return sock.raw.Control(func(fd uintptr) {
				if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK); n != mark || err != nil {
					t.Errorf("socket %d has mark %d, want %d (%v)", count, n, mark, err)
				}
			})
		})
		if count != 6 {
			t.Errorf("%d sockets", count)
		}
	}
	want(7)
	if err := s.SetMark(8); err != nil {
		t.Fatal(err)
	}
	want(8)
}

// Each socket's offloads can be told from the others'.
func TestShardsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, state := range mustListen(t, NewLinux(Options{Queues: 3})).(*linuxSockets).Offloads() {
		if name := state.Where + " " + state.Name; seen[name] {
			t.Errorf("%s twice", name)
		} else {
			seen[name] = true
		}
	}
	if !seen["udp4 gso"] || !seen["udp4.2 gro"] {
		t.Errorf("%v", seen)
	}
}

// Sharing the port with oneself lets nobody else in: neither another daemon
// that shares its own, nor one that does not; and it does not let us in where
// another is. The one who was first goes on receiving all.
func TestSharedPortIsOursAlone(t *testing.T) {
	one, two := NewLinux(Options{}), NewLinux(Options{Queues: 2})
	for name, c := range map[string]struct{ first, second Network }{
		"two sharing": {two, two}, "first sharing": {two, one}, "second sharing": {one, two},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustListen(t, c.first)
			if _, err := c.second.Listen(s.Port(), 0); !errors.Is(err, unix.EADDRINUSE) {
				t.Fatalf("second on the port: %v", err)
			}
			ch, ended := receiveAll(s)
			for i := range uint32(16) {
				mustSend(t, mustListen(t, one), Run{Data: number(i), Segment: 4, To: &Endpoint{Remote: loopback(ipv4, s.Port())}})
				if g := <-ch; g.n != i {
					t.Fatalf("got %d, want %d", g.n, i)
				}
			}
			port := s.Port()
			s.Close()
			ended()
			again, err := c.second.Listen(port, 0)
			if err != nil {
				t.Fatalf("the port is not free again: %v", err)
			}
			again.Close()
		})
	}
}

// If one socket of several cannot be had, none stays.
func TestShardsAllOrNone(t *testing.T) {
	for fail := 1; fail <= 6; fail++ {
		sys, calls := kernel, 0
		var port uint16
		sys.listen = func(f family, p uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
			if calls++; calls == fail {
				return nil, unix.ENFILE
			}
			c, err := listenUDP(f, p, setup)
			if err == nil {
				port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			}
			return c, err
		}
		n := &linuxNetwork{opts: Options{Queues: 3}, sys: &sys}
		if _, err := n.Listen(0, 0); !errors.Is(err, unix.ENFILE) {
			t.Fatalf("call %d failing: %v", fail, err)
		}
		if fail == 1 {
			continue
		}
		s, err := NewLinux(Options{}).Listen(port, 0)
		if err != nil {
			t.Fatalf("call %d failing: a socket was left behind: %v", fail, err)
		}
		s.Close()
	}
}

// Without IPv6 the shards are of IPv4 alone.
func TestShardsWithoutIPv6(t *testing.T) {
	ns := newNamespace(t)
	sys := kernel
	sys.listen = func(f family, p uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
		if f == ipv6 {
			return nil, unix.EAFNOSUPPORT
		}
		return listenUDP(f, p, setup)
	}
	s := ns.listen(&linuxNetwork{opts: Options{Queues: 3}, sys: &sys}, 0, 0)
	if n := len(s.Receivers()); n != 3 {
		t.Errorf("%d receivers", n)
	}
	ch, _ := receiveAll(s)
	mustSend(t, s, Run{Data: number(5), Segment: 4, To: &Endpoint{Remote: loopback(ipv4, s.Port())}})
	if g := <-ch; g.n != 5 {
		t.Errorf("got %d", g.n)
	}
}

// What comes before all the sockets are there is nobody's: the one that is there
// already would get what another gets from then on.
func TestShardsStartTogether(t *testing.T) {
	from := mustListen(t, NewLinux(Options{}))
	sys, calls := kernel, uint32(0)
	var port uint16
	send := func() {
		calls++
		mustSend(t, from, Run{Data: number(calls), Segment: 4, To: &Endpoint{Remote: loopback(ipv4, port)}})
	}
	sys.listen = func(f family, p uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
		c, err := listenUDP(f, p, setup)
		if err == nil {
			port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			send()
		}
		return c, err
	}
	s := mustListen(t, &linuxNetwork{opts: Options{Queues: 3}, sys: &sys})
	send()
	ch, _ := receiveAll(s)
	if g := <-ch; g.n != calls {
		t.Errorf("datagram %d arrived, sent before the last socket was there; want %d", g.n, calls)
	}
}

// BenchmarkSendSockets is goroutines sending single datagrams to nobody, through
// one socket, or through one each: compare -cpu 1 and 2.
func BenchmarkSendSockets(b *testing.B) {
	ns := newNamespace(b)
	ns.ip("link add v0 type veth peer name v1\naddr add 198.51.100.1/24 dev v0\nlink set v0 up\nlink set v1 up\nneigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev v0")
	for name, sockets := range map[string]int{"one": 1, "own": 8} {
		b.Run(name, func(b *testing.B) {
			s := ns.listen(NewLinux(Options{Queues: 8}), 0, 0).(Sharded)
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
				shard := int(started.Add(1)) % sockets
				runs := []Run{{Data: make([]byte, 100), Segment: 100, To: &Endpoint{Remote: addrPort("198.51.100.2", 4000)}}}
				for pb.Next() {
					if s.SendFrom(shard, runs); runs[0].Err != nil {
						b.Error(runs[0].Err)
						return
					}
				}
			})
			b.ReportMetric((cpu()-used)/float64(b.N), "cpu-ns/op")
		})
	}
}
