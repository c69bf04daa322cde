package main

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"culvert/conn"
	"culvert/device"
	"culvert/internal/aead"
	"culvert/internal/confine"
	"culvert/internal/offload"
	"culvert/ipc"
	"culvert/tun"
)

// report is what a daemon tells of itself, and culvert status prints. Its names
// are documented in culvert(8): they stay, and others may come. Nothing in it
// is secret.
type report struct {
	Version    string `json:"version"`
	Interface  string `json:"interface"`
	PID        int    `json:"pid"`
	Uptime     int64  `json:"uptime_seconds"`
	Goroutines int    `json:"goroutines"`
	RSS        int64  `json:"rss_bytes,omitempty"` // where the system tells

	Up bool `json:"up"`
	// SocketError is why there are no sockets though the link is up; empty if there are.
	SocketError    string `json:"socket_error"`
	SocketFailures uint64 `json:"socket_failures"`
	Reopened       uint64 `json:"sockets_reopened"`

	ListenPort uint16 `json:"listen_port"`
	MTU        int    `json:"mtu"`
	RouteWatch bool   `json:"route_watch"`
	Peers      int    `json:"peers"`
	Indices    int    `json:"receiver_indices"`

	MemoryUsed  int64  `json:"memory_used_bytes"`
	MemoryLimit int64  `json:"memory_limit_bytes"`
	Memory      []part `json:"memory,omitempty"` // the sum is RSS; absent where it is not known, or the device is too busy
	Workers     int    `json:"workers"`
	Readers     int    `json:"readers"`
	Handing     int    `json:"readers_handing_over"`
	// AEAD is what batches of packets are sealed and opened with: avx512, avx2, or generic.
	AEAD    string `json:"aead"`
	Evicted int64  `json:"uapi_clients_evicted"`
	// AcceptErrors and StampFailures are of the socket and of the state directory.
	AcceptErrors  uint64 `json:"uapi_accept_errors"`
	StampFailures uint64 `json:"state_save_errors"`

	Flood       device.FloodStats `json:"flood"`
	Confinement confine.State     `json:"confinement"`

	Offloads []offload.State   `json:"offloads"`
	Drops    map[string]uint64 `json:"drops"`
	Sockets  *conn.Stats       `json:"sockets"` // null while there are none, or they do not count
	Tun      *tun.Stats        `json:"tun"`     // null where the interface does not count
}

// reporter is a device that can report.
type reporter struct {
	*device.Device
	name     func() string
	start    time.Time
	confined confine.State
	server   atomic.Pointer[ipc.Server]
}

// Report implements [ipc.Reporter].
func (d *reporter) Report() any {
	s := d.Stats()
	held := d.Holdings()
	resident, files := residentMemory()
	r := report{
		Version: versionString(), Interface: d.name(), PID: os.Getpid(), Uptime: int64(time.Since(d.start).Seconds()),
		Goroutines: runtime.NumGoroutine(), RSS: resident,
		Up: s.Up, SocketError: s.SocketError, SocketFailures: s.SocketFailures, Reopened: s.Reopened, StampFailures: s.StampFailures,
		ListenPort: s.Port, MTU: s.MTU, Peers: s.Peers, Indices: s.Indices,
		MemoryUsed: s.Memory, MemoryLimit: s.Budget,
		Memory: memoryParts(resident, files, s.Memory, held), Workers: s.Workers, Readers: s.Readers, Handing: s.Handing, AEAD: aead.Kernel(),
		Offloads: s.Offloads, Drops: s.Drops, Flood: s.Flood, Confinement: d.confined,
	}
	if r.Offloads == nil {
		r.Offloads = []offload.State{}
	}
	if server := d.server.Load(); server != nil {
		r.Evicted, r.AcceptErrors = int64(server.Evicted()), server.AcceptErrors()
	}
	if c, ok := s.Conn.(conn.Stats); ok {
		r.Sockets, r.RouteWatch = &c, c.RouteWatch
	}
	if t, ok := s.Tun.(tun.Stats); ok {
		r.Tun = &t
	}
	return r
}
