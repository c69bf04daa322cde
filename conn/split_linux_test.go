package conn

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// mainTraffic is what the tests tell apart, transport messages for one.
var mainTraffic = Main{Header: [4]byte{4}, Least: 32}

// message is one of n bytes that begins with that byte, with a label.
func message(first byte, label Label, n int) []byte {
	data := make([]byte, n)
	if copy(data[1:], []byte{0, 0, 0, label[0], label[1], label[2], label[3]}); n > 0 {
		data[0] = first
	}
	return data
}

// listenSplit makes split sockets, of which both families and all receivers are there.
func listenSplit(t *testing.T, opts Options) Sockets {
	t.Helper()
	s := mustListen(t, NewLinux(opts).(Splitter).Split(mainTraffic))
	if n := len(s.Receivers()); n != 6 {
		t.Skipf("need IPv4, IPv6 and SO_ATTACH_REUSEPORT_CBPF on this machine, have %d sockets", n)
	}
	return s
}

// The main traffic and all else come out of receivers of their own, whoever sends it and
// however short it is; and so does the main traffic without the labels that are preferred.
func TestSplit(t *testing.T) {
	needLoopback(t, ipv6)
	s := listenSplit(t, Options{})
	lanes := []Lane{LaneMain, LaneMain, LaneRest, LaneRest, LaneAside, LaneAside} // of both families each
	for i, r := range s.Receivers() {
		if lane := r.(Laned).Lane(); lane != lanes[i] {
			t.Errorf("receiver %d: lane %d", i, lane)
		}
		r.(*linuxReceiver).sock.raw.Control(func(fd uintptr) {
			// Before Linux 5.12 it cannot be read back.
			if gro, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO); err == nil && gro == 0 {
				t.Errorf("receiver %d is without UDP GRO", i)
			}
		})
	}
	ch, ended := receiveAll(s)
	var froms []Sockets
	for range 10 { // the kernel's own choice is by source and port
		froms = append(froms, mustListen(t, NewLinux(Options{})))
	}
	send := func(data []byte, lane Lane) {
		t.Helper()
		for i, f := range []family{ipv4, ipv6} {
			for _, from := range froms {
				mustSend(t, from, Run{Data: data, Segment: len(data), To: &Endpoint{Remote: loopback(f, s.Port())}})
				if g := <-ch; lanes[g.by] != lane || g.by%2 != i {
					t.Fatalf("%d bytes, %x, came out of receiver %d, want lane %d, %v", len(data), data[:4], g.by, lane, f)
				}
			}
		}
	}
	all := func(labels []Label, of func(Label) Lane) {
		t.Helper()
		if err := s.(Preferring).Prefer(labels); err != nil {
			t.Fatal(err)
		}
		for first := range byte(8) {
			for _, size := range []int{4, 31, 32, 1452} {
				for _, label := range []Label{{}, {1, 2, 3, 4}, {4, 3, 2, 1}, {0xff, 0, 0, 1}} {
					lane := LaneAside
					if first == mainTraffic.Header[0] && size >= mainTraffic.Least {
						lane = of(label)
					}
					send(message(first, label, size), lane)
				}
			}
		}
		odd := message(4, Label{}, 32)
		odd[3] = 1
		send(odd, LaneAside)
	}
	all(nil, func(Label) Lane { return LaneMain })
	only := func(labels ...Label) ([]Label, func(Label) Lane) {
		return labels, func(t Label) Lane {
			if slices.Contains(labels, t) {
				return LaneMain
			}
			return LaneRest
		}
	}
	all(only(Label{4, 3, 2, 1}))
	all(only(Label{0xff, 0, 0, 1}, Label{}))
	many := make([]Label, MaxLabels+1)
	for i := range many {
		binary.BigEndian.PutUint32(many[i][:], uint32(i)<<8)
	}
	if err := s.(Preferring).Prefer(many); err != nil {
		t.Fatal(err)
	}
	send(message(4, many[MaxLabels-1], 32), LaneMain)
	send(message(4, many[MaxLabels], 32), LaneRest)
	all([]Label{}, func(Label) Lane { return LaneMain })
	s.Close()
	ended()
	if err := s.(Preferring).Prefer(many); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Both sockets have the mark, and both go with Close.
func TestSplitMarkAndClose(t *testing.T) {
	ns := newNamespace(t)
	s := ns.listen(NewLinux(Options{}).(Splitter).Split(mainTraffic), 0, 7)
	port := s.Port()
	for _, mark := range []int{7, 8} {
		if mark == 8 {
			if err := s.SetMark(8); err != nil {
				t.Fatal(err)
			}
		}
		for i, r := range s.Receivers() {
			var got int
			r.(*linuxReceiver).sock.raw.Control(func(fd uintptr) { got, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK) })
			if got != mark {
				t.Errorf("receiver %d has the mark %d, want %d", i, got, mark)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ns.listen(NewLinux(Options{}), port, 0).Close()
}

// Nobody gets the port of split sockets, also not other split ones.
func TestSplitPortIsTaken(t *testing.T) {
	s := listenSplit(t, Options{})
	for _, n := range []Network{NewLinux(Options{}), NewLinux(Options{}).(Splitter).Split(mainTraffic), NewLinux(Options{Queues: 2})} {
		if other, err := n.Listen(s.Port(), 0); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("the port was had again: %v, %v", other, err)
		}
	}
}

// Where the kernel does not do it, one socket has to do, and the second one is gone.
func TestSplitRefused(t *testing.T) {
	refused := func(controller, []bpf.RawInstruction) error { return unix.EPERM }
	for name, change := range map[string]func(*syscalls){
		"program": func(sys *syscalls) { sys.steer = refused },
		"socket":  func(sys *syscalls) { sys.listen = noMore(2) },
		"another": func(sys *syscalls) { sys.listen = noMore(5) },
		"queues":  nil,
	} {
		sys, opts := kernel, Options{}
		if change != nil {
			change(&sys)
		} else {
			opts.Queues = 2
		}
		before := openFiles(t)
		s := mustListen(t, (&linuxNetwork{opts: opts, sys: &sys}).Split(mainTraffic))
		for i, r := range s.Receivers() {
			if lane := r.(Laned).Lane(); lane != LaneMain {
				t.Errorf("%s: receiver %d has lane %d", name, i, lane)
			}
		}
		if err := s.(Preferring).Prefer([]Label{{}}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
		if now := openFiles(t); now != before {
			t.Errorf("%s: %d descriptors, before %d", name, now, before)
		}
	}
}

// noMore lets so many sockets be made.
func noMore(sockets int) listener {
	return func(f family, port uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
		if sockets--; sockets < 0 {
			return nil, unix.EMFILE
		}
		return listenUDP(f, port, setup)
	}
}

// What one kind of datagram cannot be taken of is counted, and leaves the other kinds their buffers.
func TestSplitBuffers(t *testing.T) {
	s := listenSplit(t, Options{})
	from := mustListen(t, NewLinux(Options{}))
	small := func(sock *linuxSocket) error { return setOption(sock.raw, unix.SO_RCVBUF, 8<<10) }
	s.(*linuxSockets).each(small)
	s.(*linuxSockets).lanes(small)
	if err := s.(Preferring).Prefer([]Label{{1}}); err != nil {
		t.Fatal(err)
	}
	fulls := func() [3]uint64 {
		st := s.(*linuxSockets).Stats()
		return [3]uint64{st.ReceiveFull, st.RestFull, st.AsideFull}
	}
	before := fulls()
	for lane, data := range [3][]byte{message(4, Label{1}, 100), message(4, Label{2}, 100), message(1, Label{1}, 100)} {
		for range 200 {
			mustSend(t, from, Run{Data: data, Segment: len(data), To: &Endpoint{Remote: loopback(ipv4, s.Port())}})
		}
		now := fulls()
		for i := range now {
			if grew := now[i] > before[i]; grew != (i == lane) {
				t.Errorf("after %x: lane %d dropped %d", data[:8], i, now[i]-before[i])
			}
		}
		before = now
	}
}
