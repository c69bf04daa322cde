//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// sendError sends a UDP datagram to an address and waits for the error that an
// ICMP message brings back. The kernel keeps back those that may pass unless
// it is asked for them (IP_RECVERR, ip(7)).
func sendError(t *testing.T, n *nstest.NS, to string) (err error) {
	t.Helper()
	dialer := net.Dialer{Control: func(network, _ string, c syscall.RawConn) (err error) {
		level, option := unix.SOL_IP, unix.IP_RECVERR
		if network == "udp6" {
			level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
		}
		if control := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); control != nil {
			return control
		}
		return err
	}}
	var c net.Conn
	must(t, n.Do(func() (err error) {
		c, err = dialer.Dial("udp", net.JoinHostPort(to, "9"))
		return err
	}))
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	if _, err := c.Write([]byte("one")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// What cannot be delivered is reported to the sender at once.
func TestUnroutableIsReported(t *testing.T) {
	for _, six := range []bool{false, true} {
		nobody, without := "192.168.77.99", "192.168.77.88"
		if six {
			nobody, without = "fd77::99", "fd77::88"
		}
		for _, c := range []struct{ name, to string }{{"no peer has the address", nobody}, {"the peer has no endpoint", without}} {
			t.Run(fmt.Sprintf("%s, IPv%d", c.name, family(six)), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, options{})
				command(t, p.left.NS, "wg", "set", p.left.WG, "peer", nstest.NewKeys().Public, "allowed-ips", "192.168.77.88/32,fd77::88/128")
				if err := sendError(t, p.left.NS, c.to); !errors.Is(err, syscall.EHOSTUNREACH) {
					t.Errorf("a UDP socket gets %v", err)
				}
				pings(t, p.left.NS, rightTun4, 2) // others are not disturbed
			})
		}
	}
	t.Run("no more than a bounded rate of reports", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{before: func(left, _ *nstest.Host) {
			must(t, left.NFT(fmt.Sprintf(`table inet e2e {
				counter reports {}
				chain in { type filter hook input priority 0; iifname %s icmp type destination-unreachable counter name reports; }
			}`, left.WG)))
		}})
		const sent = 20000
		must(t, p.left.Do(func() error {
			c, err := net.Dial("udp", "192.168.77.99:9")
			if err != nil {
				return err
			}
			defer c.Close()
			for range sent {
				c.Write([]byte("x")) // the error of an earlier one
			}
			return nil
		}))
		// Behind all of them in the queue, unless that is full yet.
		eventually(t, patience, "a ping is answered", func() bool { return ping(t, p.left.NS, rightTun4, 1, "-W", "1") == 1 })
		n, err := p.left.Counters("inet", "e2e")
		must(t, err)
		if n["reports"] == 0 || n["reports"] > sent/4 {
			t.Errorf("%d reports for %d packets", n["reports"], sent)
		}
	})
}
