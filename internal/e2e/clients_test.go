//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// dial connects to a daemon's socket; the connection is closed with the test.
func dial(t *testing.T, h *nstest.Host) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", nstest.SocketPath(h.WG))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// manyPeers gives a host so many peers more.
func manyPeers(t *testing.T, h *nstest.Host, n int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("set=1\n")
	for i := range n {
		fmt.Fprintf(&b, "public_key=%064x\nallowed_ip=fd99::%x/128\n", i+1<<40, i+1)
	}
	if reply := uapi(t, h, b.String()+"\n"); reply != "errno=0\n" {
		t.Fatal(reply)
	}
}

// Clients that misbehave, more of them than are served at once: who asks for a large
// reply and never reads it, who sends without end and without a newline, who begins a
// request and does not go on. Traffic and other clients do not notice, and when they
// are gone nothing is left of them.
func TestClientsThatMisbehave(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{bothKnow: true})
	pings(t, p.left.NS, rightTun4, 1)
	manyPeers(t, p.left, 20_000) // a reply of 3 MB
	before, fds := vitalsOf(t, p.left), len(descriptors(t, p.left.Daemon.PID))
	var talkers sync.WaitGroup
	var all []net.Conn
	for i := range 150 {
		c := dial(t, p.left)
		all = append(all, c)
		switch i % 5 {
		case 0, 1:
			_, err := io.WriteString(c, "get=1\n\n")
			must(t, err)
		case 2:
			talkers.Go(func() { // ends when the daemon, or the test, closes
				for b := []byte(strings.Repeat("x", 4096)); ; {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			})
		case 3, 4:
			_, err := io.WriteString(c, "set=1\nlisten_port=1\n")
			must(t, err)
		}
	}
	pings(t, p.left.NS, rightTun4, 3)
	for range 3 { // each has to wait until somebody was quiet for a second
		if out := command(t, p.left.NS, "wg", "show", p.left.WG, "listen-port"); strings.TrimSpace(out) != fmt.Sprint(leftPort) {
			t.Errorf("listen port %q", out)
		}
	}
	v := vitalsOf(t, p.left)
	if v.Evicted == 0 || v.Goroutines > before.Goroutines+70 {
		t.Errorf("%d evicted, %d goroutines", v.Evicted, v.Goroutines)
	}
	for _, c := range all {
		c.Close()
	}
	talkers.Wait()
	settled(t, p.left, fds)
	eventually(t, patience, "the goroutines are gone", func() bool { return vitalsOf(t, p.left).Goroutines <= before.Goroutines+2 })
	pings(t, p.left.NS, rightTun4, 1)
}

// A client that reads slowly gets all of a large reply, and peers can be changed
// meanwhile.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{bothKnow: true})
	manyPeers(t, p.left, 20_000)
	c := dial(t, p.left)
	_, err := io.WriteString(c, "get=1\n\n")
	must(t, err, c.SetReadDeadline(time.Now().Add(3*patience)))
	var reply strings.Builder
	for b := make([]byte, 64<<10); !strings.HasSuffix(reply.String(), "errno=0\n\n"); {
		n, err := c.Read(b)
		must(t, err)
		reply.Write(b[:n])
		if reply.Len() < 1<<20 && n == len(b) {
			command(t, p.left.NS, "wg", "set", p.left.WG, "peer", p.right.Public, "persistent-keepalive", "25")
		}
	}
	if n := strings.Count(reply.String(), "public_key="); n != 20_001 {
		t.Errorf("%d peers in the reply", n)
	}
}
