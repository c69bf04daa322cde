package conntest

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"culvert/conn"
)

// ErrNoEndpoint is the Err of a run without an address to send to.
var ErrNoEndpoint = errors.New("no endpoint to send to")

// ifIndex is the one interface that a host has.
const ifIndex = 1

// sockets is one port of a host in both families. The network's lock guards
// it.
type sockets struct {
	host   *Host
	port   uint16
	mark   uint32
	closed bool
	shards int          // receivers per family
	recv   []*receiver  // one family after the other, lane after lane
	main   *conn.Main   // nil: there is one lane
	labels []conn.Label // that are preferred
	broken error        // every Receive ends with it
}

func newSockets(h *Host, port uint16, mark uint32, main *conn.Main) *sockets {
	s := &sockets{host: h, port: port, mark: mark, shards: max(1, h.shards), main: main}
	lanes := []conn.Lane{conn.LaneMain}
	if main != nil {
		lanes = append(lanes, conn.LaneRest, conn.LaneAside)
	}
	for _, lane := range lanes {
		for _, is4 := range [...]bool{true, false} {
			for _, a := range h.addrs {
				if a.Is4() == is4 {
					for range s.shards {
						s.recv = append(s.recv, &receiver{socks: s, lane: lane, is4: is4, ready: sync.NewCond(&h.net.mu)})
					}
					break
				}
			}
		}
	}
	return s
}

// Prefer implements [conn.Preferring].
func (s *sockets) Prefer(labels []conn.Label) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.main == nil:
		return errors.ErrUnsupported
	}
	s.labels = slices.Clone(labels[:min(len(labels), conn.MaxLabels)])
	return nil
}

// lane is that of a datagram.
func (s *sockets) lane(data []byte) conn.Lane {
	const end = len(s.main.Header)
	switch {
	case s.main == nil:
		return conn.LaneMain
	case len(data) < max(s.main.Least, 2*end) || [end]byte(data) != s.main.Header:
		return conn.LaneAside
	case len(s.labels) == 0 || slices.Contains(s.labels, conn.Label(data[end:])):
		return conn.LaneMain
	}
	return conn.LaneRest
}

// Port implements [conn.Sockets].
func (s *sockets) Port() uint16 { return s.port }

// Receivers implements [conn.Sockets].
func (s *sockets) Receivers() []conn.Receiver {
	var rs []conn.Receiver
	for _, r := range s.recv {
		rs = append(rs, r)
	}
	return rs
}

// SetMark implements [conn.Sockets].
func (s *sockets) SetMark(mark uint32) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.mark = mark
	return nil
}

// Close implements [conn.Sockets]. It drops what was received and not read.
func (s *sockets) Close() error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.close()
	return nil
}

func (s *sockets) close() {
	if s.closed {
		return
	}
	s.closed = true
	delete(s.host.ports, s.port)
	for _, r := range s.recv {
		r.queue = nil
		r.ready.Broadcast()
	}
}

// Lacks implements [conn.Partial]: the host has addresses of a family that it had
// none of when the sockets were opened.
func (s *sockets) Lacks() bool {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	for _, a := range s.host.addrs {
		if !s.hasFamily(a) {
			return true
		}
	}
	return false
}

// hasFamily reports whether there is a socket of a's family.
func (s *sockets) hasFamily(a netip.Addr) bool {
	for _, r := range s.recv {
		if r.is4 == a.Is4() {
			return true
		}
	}
	return false
}

// Send implements [conn.Sockets]. It never blocks.
func (s *sockets) Send(runs []conn.Run) {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	fault := s.host.failSends.take()
	for i := range runs {
		r := &runs[i]
		r.SourceLost = false
		switch {
		case s.closed:
			r.Err = net.ErrClosed
		case r.To == nil || !r.To.Remote.IsValid():
			r.Err = ErrNoEndpoint
		default:
			r.Err = s.send(r, fault)
		}
	}
	if n.hold != nil {
		n.hold()
	}
}

// send sends what it can of r; fault: nothing.
func (s *sockets) send(r *conn.Run, fault error) error {
	n, to := s.host.net, netip.AddrPortFrom(r.To.Remote.Addr().Unmap(), r.To.Remote.Port())
	src, kept := s.host.source(to.Addr(), r.To.Local)
	if r.To.Local.IsValid() && !kept && fault == nil {
		r.SourceLost = true
	}
	switch {
	case fault != nil:
	case !s.hasFamily(to.Addr()):
		fault = conn.ErrNoFamily
	case s.host.refuse != nil && s.host.refuse(to) != nil:
		fault = s.host.refuse(to)
	case !src.IsValid():
		fault = syscall.ENETUNREACH
	}
	if fault != nil && n.hold == nil {
		return fault
	}
	segment := r.Segment
	if segment <= 0 || segment > len(r.Data) {
		segment = len(r.Data)
	}
	for data := r.Data; ; {
		piece := data[:min(segment, len(data))]
		d := datagram{data: append([]byte(nil), piece...), from: netip.AddrPortFrom(src, s.port), to: to, tos: r.TOS}
		if n.hold != nil {
			n.held = append(n.held, Datagram{Data: d.data, From: d.from, To: d.to, TOS: d.tos, Host: s.host, Err: fault})
		} else {
			n.send(s.host, d)
		}
		if data = data[len(piece):]; len(data) == 0 {
			return fault
		}
	}
}

// receiver is the queue of one lane of one family. The network's lock guards it.
type receiver struct {
	socks *sockets
	lane  conn.Lane
	is4   bool
	queue []datagram
	ready *sync.Cond
}

// Lane implements [conn.Laned].
func (r *receiver) Lane() conn.Lane { return r.lane }

// Receive implements [conn.Receiver].
func (r *receiver) Receive(b *conn.Batch) error {
	n := r.socks.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(r.queue) == 0 {
		if r.socks.closed {
			return net.ErrClosed
		}
		if r.socks.broken != nil {
			return r.socks.broken
		}
		r.ready.Wait()
	}
	b.Messages = b.Messages[:0]
	for _, slot := range b.Slots() {
		if len(r.queue) == 0 {
			break
		}
		b.Messages = append(b.Messages, r.take(slot, n.gro))
	}
	return nil
}

// The most that Linux merges: 64 datagrams in an IP packet's length.
const (
	maxMerged      = 64
	maxMergedBytes = 65507
)

// take makes a message of the first datagram, and of those that can be merged
// with it.
func (r *receiver) take(slot []byte, merge bool) conn.Message {
	first := r.pop()
	n := copy(slot, first.data)
	size := n
	for count := 1; merge && size > 0 && count < maxMerged && len(r.queue) > 0; count++ {
		d := r.queue[0]
		same := d.from == first.from && d.to == first.to && d.tos == first.tos
		if !same || len(d.data) == 0 || len(d.data) > size || n+len(d.data) > maxMergedBytes {
			break
		}
		r.pop()
		n += copy(slot[n:], d.data)
		if len(d.data) < size {
			break
		}
	}
	return conn.Message{
		Data: slot[:n], Segment: size,
		Remote: first.from, Local: first.to.Addr(), IfIndex: ifIndex, TOS: first.tos,
	}
}

func (r *receiver) pop() datagram {
	d := r.queue[0]
	r.queue[0] = datagram{}
	r.queue = r.queue[1:]
	return d
}
