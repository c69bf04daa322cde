package device

import (
	"log/slog"

	"culvert/conn"
	"culvert/tun"
)

// Stats are counters and states since the device was made: what wg(8) does not
// show.
type Stats struct {
	Drops   map[string]uint64 // packets dropped, by reason; reasons that never occurred are missing
	Peers   int
	Indices int   // receiver indices in use: handshakes under way and keypairs
	Memory  int64 // bytes of packet memory held
	Budget  int64 // its bound
	Conn    any   // of the sockets: conn.Stats on Linux, nil while down
	Tun     any   // of the interface: tun.Stats on Linux
}

// Stats reads the counters. It is cheap and safe for concurrent use.
func (d *Device) Stats() Stats {
	s := Stats{
		Drops:   make(map[string]uint64),
		Indices: d.index.len(),
		Memory:  d.budget.used.Load() + d.stageBudget.used.Load(),
		Budget:  d.budget.limit + d.stageBudget.limit,
	}
	d.byKey.mu.RLock()
	s.Peers = len(d.byKey.m)
	d.byKey.mu.RUnlock()
	for r := notDropped + 1; r < numReasons; r++ {
		if n := d.drops.load(r); n > 0 {
			s.Drops[r.String()] = n
		}
	}
	if p := d.sockets.Load(); p != nil {
		if c, ok := (*p).(interface{ Stats() conn.Stats }); ok {
			s.Conn = c.Stats()
		}
	}
	if t, ok := d.tun.(tun.StatsSource); ok {
		s.Tun = t.Stats()
	}
	return s
}

// LogValue makes Stats one record of a log.
func (s Stats) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("drops", s.Drops), slog.Int("peers", s.Peers), slog.Int("indices", s.Indices),
		slog.Int64("memory", s.Memory), slog.Int64("budget", s.Budget), slog.Any("conn", s.Conn), slog.Any("tun", s.Tun))
}
