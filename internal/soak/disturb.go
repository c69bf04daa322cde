//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"culvert/internal/nstest"
)

// disturbance is what happens in a phase.
type disturbance struct {
	name  string
	loses bool // packets by its nature, without a counter for each
	do    func(*bed) error
}

// disturbances are those of a cycle, in order.
var disturbances = []disturbance{
	{"nothing", false, func(*bed) error { return nil }},
	{"peers come and go", false, (*bed).churn},
	{"right roams", false, (*bed).roam},
	{"offloads flip", false, (*bed).flip},
	{"preshared key", false, (*bed).reshare},
	{"tunnel flaps", true, (*bed).flapTunnel},
	{"link flaps", true, (*bed).flapLink},
	{"address goes and comes", true, (*bed).readdress},
	{"peer is removed and added", true, (*bed).repeer},
	{"port changes and back", true, (*bed).report},
}

// churn adds peers to the left daemon and removes them.
func (b *bed) churn() error {
	var add, remove []string
	for i, key := range b.strangers {
		add = append(add, "peer", key, "allowed-ips", fmt.Sprintf("10.9.%d.0/24,fd99:%x::/64", i, i), "endpoint", fmt.Sprintf("10.0.0.9:%d", 1000+i))
		remove = append(remove, "peer", key, "remove")
	}
	for range 3 {
		for _, args := range [][]string{add, remove} {
			if _, err := b.left.Run(append([]string{"wg", "set", b.left.WG}, args...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// roam has left send to right's other address, which right then answers from.
func (b *bed) roam() error {
	to := roamed4
	if b.roamed {
		to = right4
	}
	b.roamed = !b.roamed
	_, err := b.left.Run("wg", "set", b.left.WG, "peer", b.right.Public, "endpoint", fmt.Sprintf("%s:%d", to, rightPort))
	return err
}

// flip switches offloads of the link off and on, at both ends.
func (b *bed) flip() error {
	for _, features := range []string{"gro off", "tx-udp-segmentation off", "gso off", "tx off", "tx on", "gso on", "tx-udp-segmentation on", "gro on"} {
		args := strings.Fields(features)
		_, err := b.left.Run(append([]string{"ethtool", "-K", leftVeth}, args...)...)
		_, err2 := b.right.Run(append([]string{"ethtool", "-K", rightVeth}, args...)...)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
	}
	return nil
}

// reshare sets the same preshared key at both ends, another one each time: it counts
// from the next handshake on. Between the two a handshake would fail, and be tried
// again; the session goes on.
func (b *bed) reshare() error {
	b.psk = nstest.NewPSK()
	_, err := b.left.RunInput(b.psk, "wg", "set", b.left.WG, "peer", b.right.Public, "preshared-key", "/dev/stdin")
	_, err2 := b.right.RunInput(b.psk, "wg", "set", b.right.WG, "peer", b.left.Public, "preshared-key", "/dev/stdin")
	return errors.Join(err, err2)
}

// flapTunnel sets left's tunnel interface down and up, which ends its sessions.
func (b *bed) flapTunnel() error {
	return b.left.IP("link set "+b.left.WG+" down", "link set "+b.left.WG+" up", "addr replace "+leftTun6+"/64 dev "+b.left.WG+" nodad")
}

// flapLink sets the link below down and up.
func (b *bed) flapLink() error {
	return b.left.IP("link set "+leftVeth+" down", "link set "+leftVeth+" up")
}

// readdress takes left's address away and gives it back.
func (b *bed) readdress() error {
	return b.left.IP("addr del "+left4+"/24 dev "+leftVeth, "addr add "+left4+"/24 dev "+leftVeth)
}

// repeer removes left from right and adds it anew: its session is gone.
func (b *bed) repeer() error {
	if _, err := b.right.Run("wg", "set", b.right.WG, "peer", b.left.Public, "remove"); err != nil {
		return err
	}
	_, err := b.right.RunInput(b.psk, "wg", "set", b.right.WG, "peer", b.left.Public, "preshared-key", "/dev/stdin",
		"allowed-ips", leftTun4+"/32,"+leftTun6+"/128", "endpoint", fmt.Sprintf("%s:%d", left4, leftPort))
	return err
}

// report opens left's sockets on another port and back.
func (b *bed) report() error {
	for _, port := range []int{leftPort + 100, leftPort} {
		if _, err := b.left.Run("wg", "set", b.left.WG, "listen-port", fmt.Sprint(port)); err != nil {
			return err
		}
	}
	return nil
}
