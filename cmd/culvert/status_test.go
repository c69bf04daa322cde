package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/conn"
	"culvert/device"
	"culvert/internal/confine"
	"culvert/internal/offload"
	"culvert/tun"
)

var update = flag.Bool("update", false, "write the golden files of the status anew")

// sample is a report in which something is told by every part.
func sample() report {
	since := time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)
	return report{
		Version: "v1.2.3", Interface: "wg0", PID: 4711, Uptime: 3723, Goroutines: 14, RSS: 12<<20 + 1<<19,
		Up: true, SocketFailures: 3, Reopened: 2, ListenPort: 51820, MTU: 1420, RouteWatch: true, Peers: 3, Indices: 4,
		MemoryUsed: 5 << 20, MemoryLimit: 16 << 20, Memory: []part{{"peers", 3, 1440}, {"rest", 0, -5}}, Workers: 2, Readers: 3, Handing: 1, AEAD: "avx512", Evicted: 1, AcceptErrors: 6, StampFailures: 7,
		Offloads: []offload.State{
			{Where: "udp4", Name: "gso", On: true},
			{Where: "udp4", Name: "gso", To: "192.0.2.1", Why: "EMSGSIZE", Since: since},
			{Where: "udp4", Name: "gro", On: true},
			{Where: "udp6", Name: "gso", Why: "EIO", Since: since},
			{Where: "tun", Name: "read_uso", Why: offload.Option},
		},
		Confinement: confine.State{On: true, Capabilities: []string{"cap_net_admin"}, Bounded: true, NoNewPrivs: true, Landlock: 7, Seccomp: true},
		Flood:       device.FloodStats{On: true, Times: 2, Preferred: 3, Beyond: 4},
		Drops:       map[string]uint64{"no_peer": 12, "replay": 0, "bad_tag": 1},
		Sockets:     &conn.Stats{Received: 100, Sent: 200, SendCalls: 20, GSOFallbacks: 2},
		Tun:         &tun.Stats{SuperRead: 7},
	}
}

// Why there are no sockets is the first thing to be seen.
func TestStatusWithoutSockets(t *testing.T) {
	r := report{Interface: "wg0", SocketError: "too many open files", SocketFailures: 5, Reopened: 4}
	if text := r.text(); !strings.Contains(text, "state: no sockets (too many open files)") || !strings.Contains(text, "sockets: failed 5 times, opened anew 4 times") {
		t.Error(text)
	}
}

// A flood that is over is told, too.
func TestStatusOfFloods(t *testing.T) {
	r := report{Flood: device.FloodStats{Times: 5}}
	if text := r.text(); !strings.Contains(text, "floods: 5 of duplicate") {
		t.Error(text)
	}
}

// golden compares with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "status", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v: got\n%s", path, err, got)
	}
}

// The names of the JSON are promised by culvert(8): programs read them.
func TestStatusGolden(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]statusOptions{"text": {}, "json": {JSON: true}} {
		var b bytes.Buffer
		if err := o.print(&b, text); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
}

// The parts are those of the device, and then of the process; their sum is the resident
// memory.
func TestMemoryParts(t *testing.T) {
	const resident, files, packets = 1 << 40, 7, 11
	parts := memoryParts(resident, files, packets, []device.Holding{{Kind: "peers", Count: 2, Bytes: 500}, {Kind: "endpoints", Count: 1, Bytes: 100}})
	sum, bytes := int64(0), map[string]int64{}
	for _, p := range parts {
		sum += p.Bytes
		bytes[p.Kind] = p.Bytes
	}
	if sum != resident || parts[0] != (part{"peers", 2, 500}) || bytes["files"] != files || bytes["packets"] != packets ||
		bytes["other_objects"] < 1<<16 || bytes["runtime"] < 1<<16 || bytes["heap_fragments"] <= 0 || len(parts) != 9 {
		t.Errorf("a sum of %d: %+v", sum, parts)
	}
	held := memoryParts(resident, files, packets, []device.Holding{{Kind: "peers", Count: 2, Bytes: 1 << 40}})
	if other := held[1]; other.Kind != "other_objects" || other.Bytes > -1<<39 {
		t.Errorf("what the device has is counted twice: %+v", held)
	}
	for _, none := range [][]part{memoryParts(resident, files, packets, nil), memoryParts(0, 0, packets, []device.Holding{{}})} {
		if none != nil {
			t.Errorf("what is not known is told: %+v", none)
		}
	}
}

// A daemon without sockets, of another system, or another version can be asked.
func TestStatusOfOthers(t *testing.T) {
	for text, want := range map[string]string{
		`{"interface":"a","colour":"blue","offloads":[],"sockets":null,"tun":null,"drops":{}}`: "interface: a\n",
		`{"interface":"b","sockets":{"new_counter":5,"text":"x"}}`:                             "interface: b\n",
	} {
		var b bytes.Buffer
		if err := new(statusOptions).print(&b, json.RawMessage(text)); err != nil || !bytes.HasPrefix(b.Bytes(), []byte(want)) {
			t.Errorf("%v: %s", err, &b)
		}
	}
	if err := new(statusOptions).print(new(bytes.Buffer), json.RawMessage(`{"interface":7}`)); err == nil {
		t.Error("nonsense is understood")
	}
}
