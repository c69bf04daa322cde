package device

import (
	"log/slog"
	"maps"

	"culvert/conn"
	"culvert/internal/offload"
	"culvert/tun"
)

// Stats are counters and states since the device was made: what wg(8) does not
// show. There is nothing secret in them.
type Stats struct {
	Drops map[string]uint64 // packets dropped, by reason; every reason is there
	Up    bool              // there are sockets
	// SocketError is why there are none though the interface is up; empty if there
	// are. SocketFailures is how often they broke or could not be opened, Reopened
	// how often they were opened anew after that.
	SocketError    string
	SocketFailures uint64
	Reopened       uint64
	StampFailures  uint64 // times the last handshake label could not be saved
	Port           uint16 // they are bound to, or will be; 0: not known yet
	MTU            int    // of the interface
	Peers          int
	Indices        int   // receiver indices in use: handshakes under way and keypairs
	Memory         int64 // bytes of packet memory held
	Budget         int64 // its bound
	Workers        int   // that seal and open beside the readers
	Readers        int   // of TUN queues and sockets
	Handing        int   // readers that hand over to the workers now
	Flood          FloodStats
	// Offloads are those of sockets and interface: on, or off since when and why.
	Offloads []offload.State
	Conn     any // counters of the sockets, since they were opened: conn.Stats, nil while down
	Tun      any // counters of the interface: tun.Stats on Linux
}

// governed is what has offloads: sockets and interfaces of Linux.
type governed interface{ Offloads() []offload.State }

// Stats reads the counters. It is cheap and safe for concurrent use.
func (d *Device) Stats() Stats {
	s := Stats{
		Drops:   make(map[string]uint64),
		Port:    uint16(d.port.Load()),
		MTU:     d.MTU(),
		Indices: d.index.len(),
		Memory:  d.budget.used.Load() + d.stageBudget.used.Load(),
		Budget:  d.budget.limit + d.stageBudget.limit,
		Workers: max(0, d.opts.Workers),
		Readers: int(d.readerCounts.reading.Load()),
		Handing: int(d.readerCounts.handing.Load()),
		Flood:   d.flood.stats(),
	}
	d.byKey.mu.RLock()
	s.Peers = len(d.byKey.m)
	d.byKey.mu.RUnlock()
	for r := notDropped + 1; r < numReasons; r++ {
		s.Drops[r.String()] = d.drops.load(r)
	}
	if p := d.sockets.Load(); p != nil {
		s.ofSockets(*p)
	}
	s.SocketFailures, s.Reopened = d.state.failures.Load(), d.state.reopened.Load()
	if d.stamps != nil {
		s.StampFailures = d.stamps.failures.Load()
	}
	if why := d.state.missing.Load(); why != nil {
		s.SocketError = (*why).Error()
	}
	if g, ok := d.tun.(governed); ok {
		s.Offloads = append(s.Offloads, g.Offloads()...)
	}
	if t, ok := d.tun.(tun.StatsSource); ok {
		s.Tun = t.Stats()
	}
	return s
}

func (s *Stats) ofSockets(sockets conn.Sockets) {
	s.Up = true
	if c, ok := sockets.(interface{ Stats() conn.Stats }); ok {
		s.Conn = c.Stats()
	}
	if g, ok := sockets.(governed); ok {
		s.Offloads = append(s.Offloads, g.Offloads()...)
	}
}

// LogValue makes Stats one record of a log.
func (s Stats) LogValue() slog.Value {
	dropped := maps.Clone(s.Drops)
	maps.DeleteFunc(dropped, func(_ string, n uint64) bool { return n == 0 })
	return slog.GroupValue(slog.Any("drops", dropped), slog.Int("peers", s.Peers), slog.Int("indices", s.Indices),
		slog.Int64("memory", s.Memory), slog.Int64("budget", s.Budget), slog.Any("offloads", s.Offloads),
		slog.Any("conn", s.Conn), slog.Any("tun", s.Tun))
}
