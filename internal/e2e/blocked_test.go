//go:build linux

package e2e

import (
	"net"
	"testing"

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
