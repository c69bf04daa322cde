//go:build linux

package e2e

import (
	"net"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// A peer whose link takes next to nothing is sent far more than that: the others
// do not notice. All of them are sent to through one socket, and what waits in the
// queue of one link is in that socket's buffer.
func TestBlockedPeerDelaysNobody(t *testing.T) {
	t.Parallel()
	s := newStar(t, 2)
	pings(t, s.hub.NS, leafTun(0), 1)
	pings(t, s.hub.NS, leafTun(1), 1)
	// The queue holds as much as fq_codel would: 32 MiB.
	command(t, s.hub.NS, "tc", "qdisc", "add", "dev", "veth0", "root", "tbf", "rate", "1mbit", "burst", "64kb", "limit", "32mb")
	flood(t, s.hub.NS, leafTun(0), 48<<20)
	pings(t, s.hub.NS, leafTun(1), 5)
	pings(t, s.leaves[1].NS, hubTun, 5)
}

// A peer that is sent as much as TCP can, and sends it too, leaves the others
// their turn: each packet of theirs gets through at once, and none is lost.
func TestFloodingPeerDelaysNobody(t *testing.T) {
	t.Parallel()
	s := newStar(t, 2)
	moved := func() int64 { p := peer(t, s.hub, s.leaves[0]); return p.RX + p.TX }
	for _, direction := range []string{"-4", "-R"} {
		before := moved()
		stream, err := nstest.StartIperf(s.hub.NS, s.leaves[0].NS, leafTun(0), "-t", "30", "-P", "4", direction)
		must(t, err)
		eventually(t, 10*time.Second, "traffic", func() bool { return moved() > before+(100<<20) })
		pings(t, s.hub.NS, leafTun(1), 10)
		pings(t, s.leaves[1].NS, hubTun, 10)
		before = moved()
		pings(t, s.hub.NS, leafTun(1), 1)
		eventually(t, 10*time.Second, "more traffic", func() bool { return moved() > before })
		must(t, stream.Stop())
	}
}

// flood sends that many bytes into the tunnel, as UDP.
func flood(t *testing.T, from *nstest.NS, to string, bytes int) {
	t.Helper()
	var c net.Conn
	must(t, from.Do(func() (err error) { c, err = net.Dial("udp4", net.JoinHostPort(to, "9")); return err }))
	defer c.Close()
	for b := make([]byte, 1300); bytes > 0; bytes -= len(b) {
		c.Write(b) // refused while the interface's queue is full, and when nobody listens
	}
}
