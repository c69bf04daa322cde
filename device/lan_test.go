package device

import (
	"net"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/conn"
)

// lan is a network in memory whose every datagram a test can see, lose, delay,
// repeat or refuse. It is in order and loses nothing unless told otherwise.
// Blocking calls block on channels only, so they are durable in a bubble.
type lan struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*lanSockets
	fate    func(*datagram) // called for each datagram, before it goes
	log     []datagram      // what was sent since reset
	flying  []flight        // by due, then as sent
	quiet   bool            // no log
	merge   bool            // receivers merge runs, as UDP GRO does
	port    uint16
}

// A datagram on its way. The fields below data are its fate, for lan.fate to set.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort
	tos      byte
	mark     uint32
	data     []byte

	lost   bool
	copies int // beside the first one
	delay  time.Duration
	err    error // Send fails with it
}

type flight struct {
	due time.Time
	d   *datagram
}

func newLAN() *lan {
	return &lan{sockets: map[netip.AddrPort]*lanSockets{}, port: 40000}
}

// setFate replaces the fate; nil: all arrives.
func (l *lan) setFate(f func(*datagram)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fate = f
}

// reset gives what was sent and forgets it.
func (l *lan) reset() []datagram {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.log
	l.log = nil
	return log
}

// lanHost is one host's network: a conn.Network.
type lanHost struct {
	l     *lan
	mu    sync.Mutex
	addrs []netip.Addr
	fails error       // of the next Listens
	stall atomic.Bool // every Send blocks until its sockets are closed, as with a full send buffer
	opens int         // sockets opened so far
}

func (l *lan) host(addrs ...netip.Addr) *lanHost { return &lanHost{l: l, addrs: addrs} }

// has reports whether a is one of the host's addresses.
func (h *lanHost) has(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.addrs {
		if x == a {
			return true
		}
	}
	return false
}

// setAddrs moves the host: sockets stay, addresses change.
func (h *lanHost) setAddrs(addrs ...netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addrs = addrs
}

// fail makes every Listen fail from now on; nil: no more.
func (h *lanHost) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = err
}

// open is the number of sockets the host has open.
func (h *lanHost) open() (n int) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	for s := range h.l.all {
		if s.host == h {
			n++
		}
	}
	return n
}

// source is the address that the host sends to dst from.
func (h *lanHost) source(to *conn.Endpoint) (a netip.Addr, lost bool) {
	if to.Local.IsValid() {
		if h.has(to.Local) {
			return to.Local, false
		}
		lost = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.addrs {
		if a.Is4() == to.Remote.Addr().Is4() {
			return a, lost
		}
	}
	return netip.Addr{}, lost
}

// Listen implements conn.Network. All hosts' ports are of one space per host.
func (h *lanHost) Listen(port uint16, mark uint32) (conn.Sockets, error) {
	h.mu.Lock()
	addrs, err := h.addrs, h.fails
	h.opens++
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if port == 0 {
		h.l.port++
		port = h.l.port
	}
	for s := range h.l.all {
		if s.port == port && s.host == h {
			return nil, syscall.EADDRINUSE
		}
	}
	s := &lanSockets{host: h, port: port, queue: make(chan *datagram, 1<<14), closed: make(chan struct{}), mark: mark}
	h.l.sockets[netip.AddrPortFrom(addrs[0], port)] = s
	return s, nil
}

// all yields every open socket; mu is held.
func (l *lan) all(yield func(*lanSockets) bool) {
	for _, s := range l.sockets {
		if !yield(s) {
			return
		}
	}
}

// lanSockets implements conn.Sockets and conn.Receiver.
type lanSockets struct {
	host   *lanHost
	port   uint16
	mark   uint32 // under lan.mu
	queue  chan *datagram
	held   *datagram // received, but it did not fit
	once   sync.Once
	closed chan struct{}
}

func (s *lanSockets) Port() uint16               { return s.port }
func (s *lanSockets) Receivers() []conn.Receiver { return []conn.Receiver{s} }

func (s *lanSockets) SetMark(mark uint32) error {
	s.host.l.mu.Lock()
	defer s.host.l.mu.Unlock()
	s.mark = mark
	return nil
}

func (s *lanSockets) Close() error {
	s.once.Do(func() {
		l := s.host.l
		l.mu.Lock()
		for a, x := range l.sockets {
			if x == s {
				delete(l.sockets, a)
			}
		}
		l.mu.Unlock()
		close(s.closed)
	})
	return nil
}

func (s *lanSockets) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *lanSockets) Send(runs []conn.Run) {
	for i := range runs {
		r := &runs[i]
		r.Err, r.SourceLost = nil, false
		if s.host.stall.Load() {
			<-s.closed
		}
		if s.isClosed() {
			r.Err = net.ErrClosed
			continue
		}
		src, lost := s.host.source(r.To)
		r.SourceLost = lost
		if !src.IsValid() {
			r.Err = syscall.ENETUNREACH
			continue
		}
		for rest := r.Data; len(rest) > 0; {
			n := min(r.Segment, len(rest))
			err := s.host.l.transmit(&datagram{at: time.Now(), from: netip.AddrPortFrom(src, s.port), to: r.To.Remote,
				tos: r.TOS, mark: s.mark, data: append([]byte(nil), rest[:n]...)})
			if err != nil {
				r.Err = err
			}
			rest = rest[n:]
		}
	}
}

// transmit logs a datagram and lets it meet its fate.
func (l *lan) transmit(d *datagram) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fate != nil {
		l.fate(d)
	}
	if d.err != nil {
		return d.err
	}
	if !l.quiet {
		l.log = append(l.log, *d)
	}
	if d.lost {
		return nil
	}
	for range 1 + d.copies {
		if d.delay == 0 {
			l.arrive(d)
			continue
		}
		due := d.at.Add(d.delay)
		i := sort.Search(len(l.flying), func(i int) bool { return l.flying[i].due.After(due) })
		l.flying = slices.Insert(l.flying, i, flight{due, d})
		time.AfterFunc(d.delay, l.land)
	}
	return nil
}

// land lets the datagram arrive whose time comes first. That those of one
// instant stay in order is why not each has a timer that knows it.
func (l *lan) land() {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.flying[0].d
	l.flying = l.flying[1:]
	l.arrive(d)
}

// inject sends a datagram as if from somebody at that address.
func (l *lan) inject(from, to netip.AddrPort, tos byte, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive(&datagram{from: from, to: to, tos: tos, data: append([]byte(nil), data...)})
}

// arrive puts d into the queue of whoever has its address; mu is held.
func (l *lan) arrive(d *datagram) {
	for s := range l.all {
		if s.port == d.to.Port() && s.host.has(d.to.Addr()) {
			select {
			case s.queue <- d:
			default:
			}
			return
		}
	}
}

// Receive implements conn.Receiver.
func (s *lanSockets) Receive(b *conn.Batch) error {
	b.Messages = b.Messages[:0]
	d := s.held
	s.held = nil
	if d == nil {
		select {
		case d = <-s.queue:
		case <-s.closed:
			return net.ErrClosed
		}
	}
	for _, slot := range b.Slots() {
		m := conn.Message{Data: slot[:copy(slot, d.data)], Segment: len(d.data), Remote: d.from, Local: d.to.Addr(), IfIndex: 1, TOS: d.tos}
		d = s.next()
		for d != nil && s.host.l.merge && joins(&m, d) {
			d = s.next()
		}
		b.Messages = append(b.Messages, m)
		if d == nil {
			return nil
		}
	}
	s.held = d
	return nil
}

// next gives what waits, if anything does.
func (s *lanSockets) next() *datagram {
	select {
	case d := <-s.queue:
		return d
	default:
		return nil
	}
}

// joins appends d to the run m if UDP GRO would.
func joins(m *conn.Message, d *datagram) bool {
	n := len(m.Data)
	if m.Remote != d.from || m.Local != d.to.Addr() || m.TOS != d.tos || len(d.data) > m.Segment || n%m.Segment != 0 ||
		n+len(d.data) > 65535 || n/m.Segment >= 64 {
		return false
	}
	m.Data = append(m.Data[:n:conn.MessageSize], d.data...)
	return true
}
