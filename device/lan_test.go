package device

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/conn"
	"culvert/conn/conntest"
)

// lan is a conntest network that a test can watch, and whose every datagram it
// can lose or refuse. It is perfect unless told otherwise.
type lan struct {
	*conntest.Network
	mu       sync.Mutex
	sockets  []*tap
	fate     func(*datagram) // called for each datagram, before it goes
	log      []datagram      // what was sent since reset
	quiet    bool            // no log
	lanes    bool            // hosts made from now on have sockets with lanes
	stranger *lanHost
}

// A datagram as it was sent, and what is to become of it.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort
	tos      byte
	mark     uint32
	data     []byte

	lost bool
	err  error // Send fails with it
}

// nowhere is the address of a stranger; see inject.
var nowhere = netip.MustParseAddrPort("203.0.113.9:1000")

func newLAN(t *testing.T) *lan {
	l := &lan{Network: conntest.NewNetwork(1)}
	t.Cleanup(l.Close)
	l.SetQueue(1 << 14)
	l.stranger = l.host(nowhere.Addr())
	if _, err := l.stranger.Listen(nowhere.Port(), 0); err != nil {
		t.Fatal(err)
	}
	return l
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

// inject sends a datagram from a socket that is open at from, past the log.
func (l *lan) inject(from, to netip.AddrPort, tos byte, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		if s.Port() == from.Port() && s.host.has(from.Addr()) {
			s.Sockets.Send([]conn.Run{{Data: data, Segment: len(data), To: &conn.Endpoint{Remote: to, Local: from.Addr()}, TOS: tos}})
			return
		}
	}
	panic("BUG: nobody is at " + from.String())
}

// lanHost is one host's network: a conn.Network.
type lanHost struct {
	*conntest.Host
	l      *lan
	fails  atomic.Pointer[error] // of every Listen
	opens  atomic.Int32          // sockets opened so far
	main   *conn.Main            // see laneHost; nil: no lanes
	labels [][]conn.Label        // that Prefer was called with
	unable int                   // so many calls of it fail
	sent   [2]atomic.Uint64      // runs, by shard
	calls  atomic.Uint64         // of Send
	stall  atomic.Bool           // every Send blocks until its sockets are closed, as with a full send buffer
}

func (l *lan) host(addrs ...netip.Addr) *lanHost {
	return &lanHost{l: l, Host: l.Network.Host(addrs...)}
}

// has reports whether a is one of the host's addresses.
func (h *lanHost) has(a netip.Addr) bool { return slices.Contains(h.Addrs(), a) }

// fail makes every Listen fail from now on; nil: no more.
func (h *lanHost) fail(err error) {
	if err == nil {
		h.fails.Store(nil)
		return
	}
	h.fails.Store(&err)
}

// open is the number of sockets the host has open.
func (h *lanHost) open() (n int) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	for _, s := range h.l.sockets {
		if s.host == h {
			n++
		}
	}
	return n
}

// source is the address that the host sends from.
func (h *lanHost) source(to *conn.Endpoint) (first netip.Addr) {
	for _, a := range h.Addrs() {
		if a == to.Local {
			return a
		}
		if a.Is4() == to.Remote.Addr().Is4() && !first.IsValid() {
			first = a
		}
	}
	return first
}

// Listen implements conn.Network.
func (h *lanHost) Listen(port uint16, mark uint32) (conn.Sockets, error) {
	h.opens.Add(1)
	if err := h.fails.Load(); err != nil {
		return nil, *err
	}
	s, err := h.Host.ListenSplit(port, mark, h.main)
	if err != nil {
		return nil, err
	}
	t := &tap{Sockets: s, host: h, closed: make(chan struct{})}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.l.sockets = append(h.l.sockets, t)
	return t, nil
}

// laneHost is a host whose network has lanes.
type laneHost struct{ *lanHost }

// Split implements conn.Splitter.
func (h laneHost) Split(main conn.Main) conn.Network {
	h.main = &main
	return h.lanHost
}

// tap is a host's sockets, watched.
type tap struct {
	conn.Sockets
	host   *lanHost
	once   sync.Once
	closed chan struct{}
}

func (s *tap) Close() error {
	s.once.Do(func() {
		l := s.host.l
		l.mu.Lock()
		l.sockets = slices.DeleteFunc(l.sockets, func(x *tap) bool { return x == s })
		l.mu.Unlock()
		close(s.closed)
	})
	return s.Sockets.Close()
}

// Prefer implements conn.Preferring.
func (s *tap) Prefer(labels []conn.Label) error {
	s.host.l.mu.Lock()
	if s.host.unable > 0 {
		s.host.unable--
		s.host.l.mu.Unlock()
		return syscall.ENOMEM
	}
	s.host.labels = append(s.host.labels, slices.Clone(labels))
	s.host.l.mu.Unlock()
	return s.Sockets.(conn.Preferring).Prefer(labels)
}

// Lacks implements conn.Partial.
func (s *tap) Lacks() bool { return s.Sockets.(conn.Partial).Lacks() }

// SendFrom implements conn.Sharded.
func (s *tap) SendFrom(shard int, runs []conn.Run) {
	s.host.sent[shard%len(s.host.sent)].Add(uint64(len(runs)))
	s.Send(runs)
}

// Send implements conn.Sockets: every run meets its fate datagram by datagram.
func (s *tap) Send(runs []conn.Run) {
	s.host.calls.Add(1)
	if s.host.stall.Load() {
		<-s.closed
	}
	for i := range runs {
		r := &runs[i]
		kept, err := s.watch(r)
		if r.Err, r.SourceLost = err, false; err != nil {
			continue
		}
		for _, data := range kept {
			one := [1]conn.Run{{Data: data, Segment: r.Segment, To: r.To, TOS: r.TOS}}
			s.Sockets.Send(one[:])
			if one[0].Err != nil {
				r.Err = one[0].Err
			}
			r.SourceLost = r.SourceLost || one[0].SourceLost
		}
	}
}

// watch logs a run and gives what is to be sent of it: the run as it is, if
// nothing is to be lost.
func (s *tap) watch(r *conn.Run) (kept [][]byte, err error) {
	l, from, mark := s.host.l, netip.AddrPortFrom(s.host.source(r.To), s.Port()), s.host.Mark(s.Port())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet && l.fate == nil {
		return [][]byte{r.Data}, nil
	}
	lost := false
	for data := range slices.Chunk(r.Data, r.Segment) {
		d := datagram{at: time.Now(), from: from, to: r.To.Remote, tos: r.TOS, mark: mark, data: slices.Clone(data)}
		if l.fate != nil {
			l.fate(&d)
		}
		if d.err != nil {
			err = d.err
			continue
		}
		if !l.quiet {
			l.log = append(l.log, d)
		}
		if d.lost {
			lost = true
			continue
		}
		kept = append(kept, data)
	}
	if !lost {
		return [][]byte{r.Data}, err
	}
	return kept, err
}
