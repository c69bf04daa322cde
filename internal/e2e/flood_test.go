//go:build linux

package e2e

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"culvert/device"

	"golang.org/x/sys/unix"
)

// filler is a stranger who sends one message, again and again.
type filler struct {
	c       net.Conn
	message []byte
}

// newFiller sends to the right daemon, messages of a type that else are zero.
func newFiller(t *testing.T, p *pair, outer6 bool, kind byte) *filler {
	t.Helper()
	to := endpoint(rightIP4, rightPort)
	if outer6 {
		to = endpoint(rightIP6, rightPort)
	}
	f := &filler{message: make([]byte, 148)}
	f.message[0] = kind
	must(t, p.left.NS.Do(func() (err error) { f.c, err = net.Dial("udp", to); return err }))
	t.Cleanup(func() { f.c.Close() })
	return f
}

func (f *filler) send(n int) {
	for range n {
		f.c.Write(f.message)
	}
}

// leavesRoom fails the test unless packets of the session are all received, though messages of f that are more than a
// buffer holds came before them, while the daemon could not read.
func (f *filler) leavesRoom(t *testing.T, p *pair) {
	t.Helper()
	const packets = 200
	sent, came := peer(t, p.left, p.right).TX, peer(t, p.right, p.left).RX
	must(t, unix.Kill(p.right.Daemon.PID, unix.SIGSTOP))
	f.send(40_000)
	flood(t, p.left.NS, rightTun4, packets*1300)
	eventually(t, 10*time.Second, "they are sent", func() bool { return peer(t, p.left, p.right).TX >= sent+packets*1300 })
	must(t, unix.Kill(p.right.Daemon.PID, unix.SIGCONT))
	eventually(t, 10*time.Second, "all have come", func() bool { return peer(t, p.right, p.left).RX >= came+packets*1300 })
}

// Handshake messages of strangers that fill the daemon's buffer, while it cannot read, take
// nothing from a session's packets: they have a socket of their own.
func TestStrangersFillABufferOfTheirOwn(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		p := newPair(t, options{outer6: outer6})
		pings(t, p.left.NS, rightTun4, 1)
		newFiller(t, p, outer6, 1).leavesRoom(t, p)
	}
}

// Nor do messages that look like packets, once there is a flood of them: the session is preferred.
func TestFloodFillsABufferOfItsOwn(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		p := newPair(t, options{outer6: outer6})
		f := newFiller(t, p, outer6, 4)
		var s struct {
			Flood   device.FloodStats
			Sockets struct {
				RestFull uint64 `json:"rest_full"`
			}
		}
		status := func() {
			t.Helper()
			must(t, json.Unmarshal([]byte(command(t, p.right.NS, daemon("status", "--json", p.right.WG)...)), &s))
		}
		if status(); s.Flood != (device.FloodStats{}) {
			t.Errorf("at first: %+v", s.Flood)
		}
		eventually(t, patience, "the session is preferred", func() bool {
			f.send(20_000)
			command(t, p.left.NS, "ping", "-q", "-i", "0.01", "-c", "10", "-W", "1", rightTun4)
			status()
			return s.Flood.On && s.Flood.Preferred == 1
		})
		f.leavesRoom(t, p)
		if status(); s.Sockets.RestFull == 0 {
			t.Error("all of the flood was read")
		}
	}
}
