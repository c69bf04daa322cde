//go:build linux

package e2e

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Handshake messages of strangers that fill the daemon's buffer, while it cannot read, take
// nothing from a session's packets: they have a socket of their own.
func TestStrangersFillABufferOfTheirOwn(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		p := newPair(t, options{outer6: outer6})
		pings(t, p.left.NS, rightTun4, 1)
		to := endpoint(rightIP4, rightPort)
		if outer6 {
			to = endpoint(rightIP6, rightPort)
		}
		const packets = 200
		sent, came := peer(t, p.left, p.right).TX, peer(t, p.right, p.left).RX
		must(t, unix.Kill(p.right.Daemon.PID, unix.SIGSTOP))
		var c net.Conn
		must(t, p.left.NS.Do(func() (err error) { c, err = net.Dial("udp", to); return err }))
		message := make([]byte, 148)
		message[0] = 1
		for range 40_000 {
			c.Write(message)
		}
		c.Close()
		flood(t, p.left.NS, rightTun4, packets*1300)
		eventually(t, 10*time.Second, "they are sent", func() bool { return peer(t, p.left, p.right).TX >= sent+packets*1300 })
		must(t, unix.Kill(p.right.Daemon.PID, unix.SIGCONT))
		eventually(t, 10*time.Second, "all have come", func() bool { return peer(t, p.right, p.left).RX >= came+packets*1300 })
	}
}
