package conn

import (
	"bytes"
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const mainByte = 4

// listenSplit makes split sockets, of which both families and all four receivers are there.
func listenSplit(t *testing.T, opts Options) Sockets {
	t.Helper()
	s := mustListen(t, NewLinux(opts).(Splitter).Split(mainByte))
	if n := len(s.Receivers()); n != 4 {
		t.Skipf("need IPv4, IPv6 and SO_ATTACH_REUSEPORT_CBPF on this machine, have %d sockets", n)
	}
	return s
}

// The main traffic and all else come out of receivers of their own, whoever sends it and
// however short it is.
func TestSplit(t *testing.T) {
	s := listenSplit(t, Options{})
	for i, r := range s.Receivers() {
		if aside := r.(Aside).Aside(); aside != (i >= 2) {
			t.Errorf("receiver %d: aside %v", i, aside)
		}
		r.(*linuxReceiver).sock.raw.Control(func(fd uintptr) {
			// Before Linux 5.12 it cannot be read back.
			if gro, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO); err == nil && gro == 0 {
				t.Errorf("receiver %d is without UDP GRO", i)
			}
		})
	}
	ch, ended := receiveAll(s)
	for i, f := range []family{ipv4, ipv6} {
		for range 20 { // the kernel's own choice is by source and port
			from := mustListen(t, NewLinux(Options{}))
			for first := range byte(8) {
				data := []byte{first, 0, 0, 0, 0}
				mustSend(t, from, Run{Data: data, Segment: len(data), To: &Endpoint{Remote: loopback(f, s.Port())}})
				want := i + 2
				if first == mainByte {
					want = i
				}
				if g := <-ch; g.by != want || g.n>>24 != uint32(first) {
					t.Fatalf("what begins with %d came out of receiver %d, want %d", g.n>>24, g.by, want)
				}
			}
		}
	}
	s.Close()
	ended()
}

// Both sockets have the mark, and both go with Close.
func TestSplitMarkAndClose(t *testing.T) {
	ns := newNamespace(t)
	s := ns.listen(NewLinux(Options{}).(Splitter).Split(mainByte), 0, 7)
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
	for _, n := range []Network{NewLinux(Options{}), NewLinux(Options{}).(Splitter).Split(mainByte), NewLinux(Options{Queues: 2})} {
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
		"queues":  nil,
	} {
		sys, opts := kernel, Options{}
		if change != nil {
			change(&sys)
		} else {
			opts.Queues = 2
		}
		before := openFiles(t)
		s := mustListen(t, (&linuxNetwork{opts: opts, sys: &sys}).Split(mainByte))
		for i, r := range s.Receivers() {
			if r.(Aside).Aside() {
				t.Errorf("%s: receiver %d is aside", name, i)
			}
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

// What one kind of datagram cannot be taken of is counted, and leaves the other kind its buffer.
func TestSplitBuffers(t *testing.T) {
	s := listenSplit(t, Options{})
	from := mustListen(t, NewLinux(Options{}))
	s.(*linuxSockets).each(func(sock *linuxSocket) error { return setOption(sock.raw, unix.SO_RCVBUF, 8<<10) })
	s.(*linuxSockets).aside.each(func(sock *linuxSocket) error { return setOption(sock.raw, unix.SO_RCVBUF, 8<<10) })
	stats := s.(*linuxSockets).Stats
	send := func(first byte) {
		for range 200 {
			data := bytes.Repeat([]byte{first}, 100)
			mustSend(t, from, Run{Data: data, Segment: len(data), To: &Endpoint{Remote: loopback(ipv4, s.Port())}})
		}
	}
	if send(1); stats().AsideFull == 0 || stats().ReceiveFull != 0 {
		t.Errorf("after junk: %+v", stats())
	}
	aside := stats().AsideFull
	if send(mainByte); stats().AsideFull != aside || stats().ReceiveFull == 0 {
		t.Errorf("after packets: %+v", stats())
	}
}
