package conn

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// portableNetwork makes sockets out of package net, for systems without an
// implementation of their own.
type portableNetwork struct{ opts Options }

// Portable makes sockets that send and receive one datagram per system call
// and run wherever package net does. They keep source addresses and IPv6
// traffic classes where golang.org/x/net can pass them on; the IPv4 TOS of a
// run is not sent. System picks it where there is nothing better.
func Portable() Network { return newPortable(Options{}) }

func newPortable(opts Options) Network { return &portableNetwork{opts} }

// Listen implements [Network].
func (n *portableNetwork) Listen(port uint16, mark uint32) (Sockets, error) {
	s := &portableSockets{}
	open := func(f family, port uint16) (*portableSocket, error) { return openPortable(&s.counters, f, port, mark) }
	var err error
	s.v4, s.v6, err = listenPair(open, (*portableSocket).close, (*portableSocket).port, port)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// portableSockets is a pair of sockets; one of them may be nil.
type portableSockets struct {
	v4, v6 *portableSocket
	counters
	closeOnce sync.Once
	closeErr  error
}

// portableSocket is one UDP socket of one family.
type portableSocket struct {
	family   family
	conn     *net.UDPConn
	raw      syscall.RawConn
	oobSize  int // room for the control data of a datagram; 0: none comes
	counters *counters
	closed   atomic.Bool
}

func openPortable(c *counters, f family, port uint16, mark uint32) (*portableSocket, error) {
	udp, err := listenUDP(f, port, func(raw syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		return setMark(raw, mark)
	})
	if err != nil {
		return nil, err
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		udp.Close()
		return nil, err
	}
	udp.SetReadBuffer(socketBuffer)
	udp.SetWriteBuffer(socketBuffer)
	return &portableSocket{family: f, conn: udp, raw: raw, oobSize: askControl(udp, f), counters: c}, nil
}

func (s *portableSocket) close() error {
	s.closed.Store(true)
	return s.conn.Close()
}

func (s *portableSocket) port() uint16 { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

func (s *portableSockets) each(f func(*portableSocket) error) error {
	var errs []error
	for _, sock := range [...]*portableSocket{s.v4, s.v6} {
		if sock != nil {
			errs = append(errs, f(sock))
		}
	}
	return errors.Join(errs...)
}

// Port implements [Sockets].
func (s *portableSockets) Port() uint16 {
	if s.v4 != nil {
		return s.v4.port()
	}
	return s.v6.port()
}

// Receivers implements [Sockets].
func (s *portableSockets) Receivers() []Receiver {
	var rs []Receiver
	s.each(func(sock *portableSocket) error {
		rs = append(rs, &portableReceiver{sock: sock, oob: make([]byte, sock.oobSize)})
		return nil
	})
	return rs
}

// SetMark implements [Sockets].
func (s *portableSockets) SetMark(mark uint32) error {
	return s.each(func(sock *portableSocket) error { return setMark(sock.raw, mark) })
}

// Close implements [Sockets].
func (s *portableSockets) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.each((*portableSocket).close) })
	return s.closeErr
}

// Lacks implements [Partial].
func (s *portableSockets) Lacks() bool {
	return s.v4 == nil && hasFamily(listenUDP, ipv4, s.Port()) || s.v6 == nil && hasFamily(listenUDP, ipv6, s.Port())
}

// Stats tells what was counted.
func (s *portableSockets) Stats() Stats { return s.counters.stats() }

// portableReceiver reads one socket. It belongs to one goroutine.
type portableReceiver struct {
	sock *portableSocket
	oob  []byte
}

// failurePause is how long a receiver rests after each failure but the first
// failuresInRow. After lastFailure the socket is given up.
const (
	failuresInRow = 16
	failurePause  = 10 * time.Millisecond
	lastFailure   = failuresInRow + 1000
)

// Receive implements [Receiver]. It delivers one datagram at a time.
func (r *portableReceiver) Receive(b *Batch) error {
	b.Messages = b.Messages[:0]
	slot := b.slots[0]
	for failures := 1; ; failures++ {
		n, oobn, _, from, err := r.sock.conn.ReadMsgUDPAddrPort(slot, r.oob)
		if err == nil {
			m := Message{Data: slot[:n], Segment: n, Remote: unmap(from)}
			parsePortableControl(r.sock.family, r.oob[:oobn], &m)
			b.Messages = append(b.Messages, m)
			r.sock.counters.receiveCalls.Add(1)
			r.sock.counters.received.Add(1)
			return nil
		}
		if r.sock.closed.Load() || errors.Is(err, net.ErrClosed) {
			return net.ErrClosed
		}
		// Of a single datagram: an ICMP error (Windows: WSAECONNRESET), or
		// one that was too large.
		r.sock.counters.receiveErrors.Add(1)
		if failures >= lastFailure || isBroken(err) {
			return err
		}
		if failures > failuresInRow {
			time.Sleep(failurePause)
		}
	}
}

// unmap makes an IPv4-mapped IPv6 address IPv4, and a zone the interface's
// number, so that it compares equal to what the Linux sockets give.
func unmap(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if zone := ip.Zone(); zone != "" {
		if index := zoneIndex(zone); index != 0 {
			ip = ip.WithZone(strconv.Itoa(index))
		}
	}
	return netip.AddrPortFrom(ip, a.Port())
}

func zoneIndex(zone string) int {
	if n, err := strconv.Atoi(zone); err == nil {
		return n
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return ifi.Index
}

// Send implements [Sockets].
func (s *portableSockets) Send(runs []Run) {
	for i := range runs {
		r := &runs[i]
		r.Err, r.SourceLost = nil, false
		if r.To == nil || !r.To.Remote.IsValid() {
			r.Err = errNoEndpoint
		} else if sock := s.toward(r.To.Remote.Addr()); sock == nil {
			r.Err = ErrNoFamily
		} else {
			sock.send(r)
		}
		if r.Err != nil {
			s.sendErrors.Add(1)
		}
		if r.SourceLost {
			s.sourceLost.Add(1)
		}
	}
}

func (s *portableSockets) toward(a netip.Addr) *portableSocket {
	if familyOf(a) == ipv4 {
		return s.v4
	}
	return s.v6
}

// send sends the datagrams of r, all of them even if one fails.
func (s *portableSocket) send(r *Run) {
	oob := portableControl(s.family, r, true)
	hasSource := r.To.Local.IsValid() && len(oob) > 0
	segment := r.Segment
	if segment <= 0 || segment > len(r.Data) {
		segment = len(r.Data)
	}
	data := r.Data
	for {
		piece := data[:min(segment, len(data))]
		data = data[len(piece):]
		err := s.write(piece, oob, r.To.Remote)
		if err != nil && hasSource && !errors.Is(err, net.ErrClosed) {
			plain := portableControl(s.family, r, false)
			if retry := s.write(piece, plain, r.To.Remote); retry == nil {
				err, oob, hasSource, r.SourceLost = nil, plain, false, true
			}
		}
		if err != nil && r.Err == nil {
			r.Err = err
		}
		if len(data) == 0 {
			return
		}
	}
}

func (s *portableSocket) write(data, oob []byte, to netip.AddrPort) error {
	s.counters.sendCalls.Add(1)
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	_, _, err := s.conn.WriteMsgUDPAddrPort(data, oob, to)
	if err != nil {
		if s.closed.Load() {
			return net.ErrClosed
		}
		return err
	}
	s.counters.sent.Add(1)
	return nil
}
