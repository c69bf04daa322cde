//go:build linux

package e2e

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"culvert/internal/nstest"
)

// udpSocket binds a UDP socket in the namespace until the test ends and
// returns its port.
func udpSocket(t *testing.T, n *nstest.NS, address string) (port int) {
	t.Helper()
	var c net.PacketConn
	must(t, n.Do(func() (err error) {
		c, err = net.ListenPacket("udp", address)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).Port
}

// udpInodes identifies the UDP sockets of a namespace.
func udpInodes(t *testing.T, n *nstest.NS) (inodes string) {
	t.Helper()
	must(t, n.Do(func() error {
		for _, file := range []string{"udp", "udp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
				if i > 0 {
					inodes += strings.Fields(line)[9] + " "
				}
			}
		}
		return nil
	}))
	return inodes
}

func itoa(n int) string { return strconv.Itoa(n) }
