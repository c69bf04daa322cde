//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"culvert/internal/nstest"
)

// roles are who talks to whom.
var roles = []struct {
	name        string
	left, right func(*testing.T) nstest.Program // left initiates
}{
	{"ours to ours", us, us},
	{"ours to wireguard-go", us, theirs},
	{"wireguard-go to ours", theirs, us},
	{"ours to the kernel", us, kernels},
	{"the kernel to ours", kernels, us},
}

// Every combination of who talks to whom, address family outside and MTU
// carries ping, TCP and UDP, IPv4 and IPv6 inside, both ways.
func TestTraffic(t *testing.T) {
	for _, role := range roles {
		for _, outer6 := range []bool{false, true} {
			for _, mtu := range []struct{ tunnel, underlay int }{{1280, 1500}, {1420, 1500}, {9000, 9100}} {
				name := fmt.Sprintf("%s over IPv%d, MTU %d in %d", role.name, family(outer6), mtu.tunnel, mtu.underlay)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					p := newPair(t, options{left: role.left(t), right: role.right(t), outer6: outer6, mtu: mtu.tunnel, underlay: mtu.underlay, psk: true})
					p.carriesEverything(t, mtu.tunnel)
				})
			}
		}
	}
}

func us(*testing.T) nstest.Program { return ours }

func family(six bool) int {
	if six {
		return 6
	}
	return 4
}

// carriesEverything fails the test unless the tunnel carries ping of several
// sizes, TCP and UDP both ways. UDP may lose packets: the kernel's default
// socket buffer has room for some 20 of 9000 bytes, 20 ms, on a busy machine.
// What TCP has in flight when iperf3 ends does not count as received. With -short
// there is less of everything, for machines that are emulated.
func (p *pair) carriesEverything(t *testing.T, mtu int) {
	t.Helper()
	bytes, packets, rate := int64(16<<20), int64(500), 1000 // rate: UDP packets a second
	if testing.Short() {
		bytes, packets, rate = 4<<20, 50, 100
	}
	for i, to := range []string{rightTun4, rightTun6} {
		header := 28 + 20*i // IPv4 or IPv6, and ICMP
		pings(t, p.left.NS, to, 3)
		pings(t, p.left.NS, to, 3, "-M", "do", "-s", fmt.Sprint(mtu-header)) // fills the MTU
		pings(t, p.left.NS, to, 3, "-s", fmt.Sprint(2*mtu))                  // fragments inside
		p.carriesContents(t, to, int(bytes))
		for _, direction := range []string{"", "-R"} {
			args := func(more ...string) []string {
				if direction != "" {
					more = append(more, direction)
				}
				return more
			}
			if r := iperf(t, p.left.NS, p.right.NS, to, args("-n", fmt.Sprint(bytes))...); r.Bytes < bytes/2 {
				t.Errorf("TCP to %s %s: %d bytes arrived of %d", to, direction, r.Bytes, bytes)
			}
			size := mtu - header - 30
			r := iperf(t, p.left.NS, p.right.NS, to, args("-u", "-b", fmt.Sprint(size*8*rate), "-l", fmt.Sprint(size), "-k", fmt.Sprint(packets))...)
			if r.Received() < packets/2 {
				t.Errorf("UDP to %s %s: %d packets arrived of %d", to, direction, r.Received(), r.Packets)
			}
		}
	}
}

// The preshared key takes part: with two different ones there is no session.
func TestDifferentPresharedKeysDoNotConnect(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{psk: true})
	pings(t, p.left.NS, rightTun4, 1)
	other := newLink(t, options{})
	other.start(t, options{})
	other.configure(t, options{psk: true})
	must(t,
		other.left.Up(1420, leftTun4+"/24"), other.right.Up(1420, rightTun4+"/24"),
		setPSK(other.right, other.left, nstest.NewPSK()),
	)
	if n := ping(t, other.left.NS, rightTun4, 3, "-W", "1"); n != 0 {
		t.Errorf("%d pings answered", n)
	}
	if s := peer(t, other.left, other.right); s.Handshake != 0 || s.TX == 0 {
		t.Errorf("handshake at %d after sending %d bytes", s.Handshake, s.TX)
	}
}

// setPSK changes the preshared key a host has for another.
func setPSK(of, other *nstest.Host, psk string) error {
	_, err := of.RunInput(psk, "wg", "set", of.WG, "peer", other.Public, "preshared-key", "/dev/stdin")
	return err
}

// TestCounters pins what wg(8) shows to what the kernel would count.
func TestCounters(t *testing.T) {
	t.Run("10 pings of 56 bytes are a handshake and 10 packets of 128 bytes", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 10)
		const initiation, response, keepalive, data = 148, 92, 32, 10 * 128
		l, r := peer(t, p.left, p.right), peer(t, p.right, p.left)
		if l.RX != response+data {
			t.Errorf("initiator: rx %d, not %d", l.RX, response+data)
		}
		if l.TX != initiation+data && l.TX != initiation+data+keepalive {
			t.Errorf("initiator: tx %d, not %d, perhaps plus %d", l.TX, initiation+data, keepalive)
		}
		if r.RX != l.TX || r.TX != l.RX {
			t.Errorf("responder: rx %d and tx %d, but the initiator has tx %d and rx %d", r.RX, r.TX, l.TX, l.RX)
		}
	})
	t.Run("padding stays within the MTU", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{mtu: 1421})
		pings(t, p.left.NS, rightTun4, 1)
		before := peer(t, p.left, p.right).TX
		pings(t, p.left.NS, rightTun4, 1, "-s", "1393") // a packet of 1421 bytes
		if sent := peer(t, p.left, p.right).TX - before; sent != 1421+32 {
			t.Errorf("a packet as large as the MTU 1421 took %d bytes, not %d", sent, 1421+32)
		}
		must(t, p.left.IP("link set "+p.left.WG+" mtu 1430"))
		before = peer(t, p.left, p.right).TX
		pings(t, p.left.NS, rightTun4, 1, "-s", "1393", "-M", "do")
		if sent := peer(t, p.left, p.right).TX - before; sent != 1424+32 {
			t.Errorf("after the MTU became 1430 a packet of 1421 bytes took %d bytes, not %d", sent, 1424+32)
		}
	})
}
