//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"culvert/internal/nstest"
	"culvert/ipc"
)

// sample is both daemons after a phase, when nothing moves any more.
type sample struct {
	At    float64 `json:"at_seconds"`
	Phase string  `json:"phase"`
	Left  vitals  `json:"left"`
	Right vitals  `json:"right"`
}

// vitals are what must not grow, and what explains losses.
type vitals struct {
	Descriptors int            `json:"descriptors"`
	Goroutines  int            `json:"goroutines"`
	Threads     int            `json:"threads"`
	RSS         int64          `json:"rss_bytes"`
	Packets     int64          `json:"packet_memory_bytes"`
	Held        map[string]int `json:"held"` // peers, sessions, keypairs and so on
	Failures    uint64         `json:"socket_failures"`

	Drops  map[string]uint64 `json:"drops"`  // the daemon's, by reason, and its sockets'
	System map[string]uint64 `json:"system"` // the system's: of sockets and interfaces
}

// String is for the line of progress.
func (v vitals) String() string {
	return fmt.Sprintf("%d fds, %d goroutines, %.1f MiB", v.Descriptors, v.Goroutines, float64(v.RSS)/(1<<20))
}

// report is the part of a daemon's status that is looked at.
type report struct {
	Goroutines  int
	RSS         int64  `json:"rss_bytes"`
	Packets     int64  `json:"memory_used_bytes"`
	Indices     int    `json:"receiver_indices"`
	Failures    uint64 `json:"socket_failures"`
	SocketError string `json:"socket_error"`
	Drops       map[string]uint64
	Sockets     struct{ Truncated uint64 }
	Memory      []struct {
		Kind  string
		Count int
	}
}

// sample looks at both.
func (b *bed) sample(at time.Duration) (s sample, err error) {
	s.At = at.Seconds()
	if s.Left, err = vitalsOf(b.left, leftVeth, leftPort); err != nil {
		return s, err
	}
	s.Right, err = vitalsOf(b.right, rightVeth, rightPort)
	return s, err
}

func vitalsOf(h *nstest.Host, veth string, port int) (v vitals, err error) {
	if !h.Daemon.Alive() {
		return v, fmt.Errorf("%s: the daemon has ended: %s", h.Label, tail(h.Daemon.Stderr()))
	}
	text, err := ipc.AskStatus(h.WG)
	if err != nil {
		return v, fmt.Errorf("%s: %w", h.Label, err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return v, fmt.Errorf("%s: status: %w", h.Label, err)
	}
	v = vitals{Goroutines: r.Goroutines, RSS: r.RSS, Packets: r.Packets, Failures: r.Failures, Drops: r.Drops,
		Held: map[string]int{"receiver_indices": r.Indices}, System: map[string]uint64{}}
	v.Drops["truncated"] = r.Sockets.Truncated
	for _, m := range r.Memory {
		v.Held[m.Kind] = m.Count
	}
	if v.Descriptors, err = entries(h.Daemon.PID, "fd"); err == nil {
		v.Threads, err = entries(h.Daemon.PID, "task")
	}
	if err != nil {
		return v, err
	}
	// The connection that asked may not have been closed yet: it is none of what is
	// counted, and is at both daemons.
	return v, h.Do(func() error { return v.system(h.WG, veth) })
}

// tail is the end of a log.
func tail(s string) string { return s[max(0, len(s)-2000):] }

// entries is the number of entries in a directory of a process.
func entries(pid int, dir string) (int, error) {
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), dir))
	return len(list), err
}

// system reads the drops of the namespace of the calling thread: of all UDP sockets,
// the daemon's and the flows', and of the interfaces.
func (v *vitals) system(interfaces ...string) error {
	for _, family := range []string{"", "6"} {
		b, err := os.ReadFile("/proc/thread-self/net/udp" + family)
		if err != nil {
			return err
		}
		v.System["udp"+family] = udpDrops(string(b))
	}
	b, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return err
	}
	for _, name := range interfaces {
		v.System[name] = linkDrops(string(b), name)
	}
	return nil
}

// udpDrops adds up the last field of /proc/net/udp.
func udpDrops(table string) (n uint64) {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) >= 13 {
			drops, _ := strconv.ParseUint(f[12], 10, 64)
			n += drops
		}
	}
	return n
}

// linkDrops adds up errors and drops of an interface in /proc/net/dev, of both
// directions: fields 2 and 3 of receiving, and of transmitting.
func linkDrops(table, name string) (n uint64) {
	for line := range strings.Lines(table) {
		link, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		if f := strings.Fields(rest); link == name && len(f) >= 16 {
			for _, i := range []int{2, 3, 10, 11} {
				drops, _ := strconv.ParseUint(f[i], 10, 64)
				n += drops
			}
		}
	}
	return n
}
