//go:build linux

package conn

import (
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"culvert/internal/offload"
	"culvert/internal/rawfd"
)

// linuxNetwork makes sockets that move batches with recvmmsg and sendmmsg.
type linuxNetwork struct {
	opts  Options
	sys   *syscalls
	split *Main // see Split; nil: not split
}

// NewLinux makes sockets that receive with recvmmsg and UDP GRO, send with
// sendmmsg and UDP GSO, and keep each peer's source address for as long as
// the routing table agrees. They belong to the network namespace of the
// thread that calls Listen.
func NewLinux(opts Options) Network {
	return &linuxNetwork{opts: opts, sys: &kernel}
}

// Listen implements [Network].
func (n *linuxNetwork) Listen(port uint16, mark uint32) (Sockets, error) {
	s := &linuxSockets{log: n.opts.logger(), listen: n.sys.listen}
	open := func(f family, port uint16) (*linuxSocket, error) { return n.open(s, f, port, mark, false) }
	var err error
	s.v4, s.v6, err = listenPair(open, (*linuxSocket).close, (*linuxSocket).port, port)
	if err != nil {
		return nil, err
	}
	if err := n.share(s, mark); err != nil {
		s.each((*linuxSocket).close)
		return nil, listenError(s.Port(), err)
	}
	if n.split != nil && n.opts.Queues <= 1 {
		if err := n.splitOff(s, mark); err != nil {
			s.log.Info("one socket per address family has to do for all: floods of handshakes keep packets waiting", "error", err)
		}
	}
	s.routes = watchRoutes(mark, s.Port(), &s.counters, s.forgive, s.log)
	return s, nil
}

// linuxPair is one socket of each family. Both pointers are fixed; one of them
// may be nil.
type linuxPair struct{ v4, v6 *linuxSocket }

// each calls f for those there are.
func (p linuxPair) each(f func(*linuxSocket) error) error {
	var errs []error
	for _, sock := range []*linuxSocket{p.v4, p.v6} {
		if sock != nil {
			errs = append(errs, f(sock))
		}
	}
	return errors.Join(errs...)
}

// linuxSockets is the sockets of a device: a pair, and on the same port with Options.Queues more
// of them, or those of further lanes.
type linuxSockets struct {
	linuxPair
	more   []linuxPair
	rest   linuxPair // of LaneRest; only receives
	aside  linuxPair // of LaneAside; only receives
	main   *Main     // how they are parted; nil: they are not there
	routes *routes
	listen listener
	log    *slog.Logger
	counters

	closeOnce sync.Once
	closeErr  error
}

// linuxSocket is one UDP socket of one family.
type linuxSocket struct {
	family   family
	raw      *rawfd.File
	bound    uint16 // the port
	sys      *syscalls
	counters *counters
	log      *slog.Logger
	gro      offload.Switch
	gso      governor
	zones    zoneTable
	lane     Lane
	closed   atomic.Bool
	patience time.Duration // with a full send buffer
	full     atomic.Bool   // it stayed full for that long, and nothing has fitted since
}

func (s *linuxSocket) close() error {
	s.closed.Store(true)
	return s.raw.Close()
}

func (s *linuxSocket) port() uint16 { return s.bound }

// each calls f for the sockets that send, and receive the main traffic, family by family.
func (s *linuxSockets) each(f func(*linuxSocket) error) error {
	var errs []error
	call := func(sock *linuxSocket) {
		if sock != nil {
			errs = append(errs, f(sock))
		}
	}
	call(s.v4)
	for _, pair := range s.more {
		call(pair.v4)
	}
	call(s.v6)
	for _, pair := range s.more {
		call(pair.v6)
	}
	return errors.Join(errs...)
}

// Port implements [Sockets].
func (s *linuxSockets) Port() uint16 {
	if s.v4 != nil {
		return s.v4.port()
	}
	return s.v6.port()
}

// lanes calls f for the sockets of further lanes, which only receive.
func (s *linuxSockets) lanes(f func(*linuxSocket) error) error {
	return errors.Join(s.rest.each(f), s.aside.each(f))
}

// Receivers implements [Sockets].
func (s *linuxSockets) Receivers() []Receiver {
	var rs []Receiver
	s.each(func(sock *linuxSocket) error {
		rs = append(rs, newLinuxReceiver(sock))
		return nil
	})
	s.lanes(func(sock *linuxSocket) error {
		rs = append(rs, newLinuxReceiver(sock))
		return nil
	})
	return rs
}

// SetMark implements [Sockets].
func (s *linuxSockets) SetMark(mark uint32) error {
	set := func(sock *linuxSocket) error { return setMark(sock.raw, mark) }
	err := errors.Join(s.each(set), s.lanes(set))
	s.routes.setMark(mark)
	return err
}

// Close implements [Sockets]. It returns when the route watcher has ended.
func (s *linuxSockets) Close() error {
	s.closeOnce.Do(func() {
		s.closeErr = errors.Join(s.each((*linuxSocket).close), s.lanes((*linuxSocket).close))
		s.routes.close()
	})
	return s.closeErr
}

// Lacks implements [Partial].
func (s *linuxSockets) Lacks() bool {
	return s.v4 == nil && hasFamily(s.listen, ipv4, s.Port()) || s.v6 == nil && hasFamily(s.listen, ipv6, s.Port())
}

// Stats tells the state of the offloads and what was counted.
func (s *linuxSockets) Stats() Stats {
	st := s.counters.stats()
	st.RouteWatch = s.routes.watching.Load()
	s.each(func(sock *linuxSocket) error {
		st.GSO = st.GSO || sock.gso.On()
		st.GRO = st.GRO || sock.gro.On()
		st.NoGSODestinations += len(sock.gso.states("")) - 1
		st.ReceiveFull += sock.drops()
		return nil
	})
	s.lanes(func(sock *linuxSocket) error {
		if sock.lane == LaneRest {
			st.RestFull += sock.drops()
		} else {
			st.AsideFull += sock.drops()
		}
		return nil
	})
	return st
}

// Offloads tells the state of each socket's: udp4, and of further shards udp4.1
// and so on.
func (s *linuxSockets) Offloads() (all []offload.State) {
	seen := map[family]int{}
	s.each(func(sock *linuxSocket) error {
		where := "udp" + strconv.Itoa(int(sock.family))
		if n := seen[sock.family]; n > 0 {
			where += "." + strconv.Itoa(n)
		}
		seen[sock.family]++
		all = append(all, sock.gso.states(where)...)
		all = append(all, sock.gro.State(where, "gro"))
		return nil
	})
	return all
}

// forgive gives what was refused another chance.
func (s *linuxSockets) forgive() {
	s.each(func(sock *linuxSocket) error {
		sock.gso.forgive()
		return nil
	})
}
