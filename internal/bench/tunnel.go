//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// Addresses: i is 1 on the left and 2 on the right.
const (
	target    = "10.98.0.2" // the far end inside the tunnel
	tunnelMTU = 1420
	outerNet  = "10.99.0."
	innerNet  = "10.98.0."
)

// tunnel is two hosts, a daemon on each, joined by a veth.
type tunnel struct {
	lab         *nstest.Lab
	left, right *nstest.Host
}

// newTunnel makes a tunnel with a live session.
func newTunnel(p program) (t *tunnel, err error) {
	lab, err := nstest.New()
	if err != nil {
		return nil, err
	}
	t = &tunnel{lab: lab}
	defer func() {
		if err != nil {
			lab.Close()
		}
	}()
	if t.left, t.right, err = hosts(lab, "left", "right"); err != nil {
		return nil, err
	}
	for i, h := range []*nstest.Host{t.left, t.right} {
		other := []*nstest.Host{t.right, t.left}[i]
		if err = setUp(p, h, other, i+1, 2-i); err != nil {
			return nil, err
		}
	}
	_, err = t.left.Run("ping", "-n", "-q", "-c", "20", "-i", "0.01", "-W", "5", target)
	return t, err
}

// hosts makes two hosts joined by a veth, with outer addresses.
func hosts(lab *nstest.Lab, a, b string) (left, right *nstest.Host, err error) {
	if left, err = lab.NewHost(a); err != nil {
		return nil, nil, err
	}
	if right, err = lab.NewHost(b); err != nil {
		return nil, nil, err
	}
	if err = nstest.Join(left.NS, "eth0", right.NS, "eth0", 1500); err != nil {
		return nil, nil, err
	}
	for i, h := range []*nstest.Host{left, right} {
		if err = h.IP(fmt.Sprintf("addr add %s%d/24 dev eth0", outerNet, i+1)); err != nil {
			return nil, nil, err
		}
	}
	return left, right, nil
}

// setUp starts and configures host number i, whose peer is number j.
func setUp(p program, h, other *nstest.Host, i, j int) error {
	if p.floor {
		return setUpFloor(p, h, i, j)
	}
	if err := h.StartDaemon(p.Program); err != nil {
		return err
	}
	if err := h.Configure(fmt.Sprintf("ListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = %s%d/32\nEndpoint = %s%d:%d\n",
		51820+i, other.Public, innerNet, j, outerNet, j, 51820+j)); err != nil {
		return err
	}
	return h.Up(tunnelMTU, fmt.Sprintf("%s%d/24", innerNet, i))
}

// setUpFloor does so for a program without keys: its arguments are all it is
// told.
func setUpFloor(p program, h *nstest.Host, i, j int) (err error) {
	remote := fmt.Sprintf("%s%d:%d", outerNet, j, 51820+j)
	h.Daemon, err = h.Start(nstest.Command{Args: append(append([]string(nil), p.Args...), h.WG, fmt.Sprint(51820+i), remote)})
	if err != nil {
		return err
	}
	if !nstest.Eventually(10*time.Second, func() bool { return !h.Daemon.Alive() || h.HasLink(h.WG) && h.Bound("udp", 51820+i) }) || !h.Daemon.Alive() {
		return fmt.Errorf("%s does not run: %s", strings.Join(p.Args, " "), h.Daemon.Stderr())
	}
	address := fmt.Sprintf("%s%d/24", innerNet, i)
	if err := h.IP(fmt.Sprintf("link set %s mtu %d", h.WG, tunnelMTU), nstest.AddAddress(address, h.WG), "link set "+h.WG+" up"); err != nil {
		return err
	}
	return h.Ready(address)
}

func (t *tunnel) close() error { return t.lab.Close() }

// usage is that of both daemons together.
func (t *tunnel) usage() usage {
	return usageOf(t.left.Daemon.PID).plus(usageOf(t.right.Daemon.PID))
}

// memory is that of the larger daemon, in MiB; see memory.
func (t *tunnel) memory(line string) (mib float64) {
	for _, h := range []*nstest.Host{t.left, t.right} {
		if h.Daemon != nil {
			mib = max(mib, memory(h.Daemon.PID, line))
		}
	}
	return mib
}
