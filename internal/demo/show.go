//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// step tells what happens next.
func step(text string) { fmt.Println("==>", text) }

// side is one of the two hosts.
type side struct {
	*nstest.Host
	outside, inside string
	port            int
}

// show builds the tunnel and sends traffic through it.
func show(seconds int) error {
	lab, err := nstest.New()
	if err != nil {
		return err
	}
	if os.Getenv("CULVERT") == "" {
		step("building the daemon")
	}
	daemon, err := nstest.Culvert(lab.Dir)
	if err != nil {
		return err
	}
	step("two hosts, left and right: network namespaces joined by a cable (veth)")
	left, right := side{nil, "10.0.0.1", "10.77.0.1", 51821}, side{nil, "10.0.0.2", "10.77.0.2", 51822}
	if left.Host, err = lab.NewHost("left"); err != nil {
		return err
	}
	if right.Host, err = lab.NewHost("right"); err != nil {
		return err
	}
	if err := nstest.Join(left.NS, "eth0", right.NS, "eth0", 1500); err != nil {
		return err
	}
	for _, s := range []side{left, right} {
		if err := s.IP(nstest.AddAddress(s.outside+"/24", "eth0")); err != nil {
			return err
		}
		fmt.Printf("    %-5s %s outside, %s in the tunnel, public key %s\n", s.Label, s.outside, s.inside, s.Public)
	}
	if err := connect(daemon, left, right); err != nil {
		return err
	}
	if err := traffic(left, right, seconds); err != nil {
		return err
	}
	return status(left, right)
}

// connect starts the daemons and makes them peers.
func connect(daemon nstest.Program, left, right side) error {
	for _, s := range []side{left, right} {
		other := right
		if s.Host == right.Host {
			other = left
		}
		step(fmt.Sprintf("%s: culvert %s; wg setconf; ip link set up", s.Label, s.WG))
		if err := s.StartDaemon(daemon); err != nil {
			return err
		}
		if err := s.Configure(fmt.Sprintf("ListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\nEndpoint = %s:%d\n",
			s.port, other.Public, other.inside, other.outside, other.port)); err != nil {
			return err
		}
		if err := s.Up(1420, s.inside+"/24"); err != nil {
			return err
		}
	}
	return nil
}

// traffic shows ping and iperf3 through the tunnel.
func traffic(left, right side, seconds int) error {
	step("left: ping " + right.inside + " through the tunnel")
	out, err := left.Run("ping", "-n", "-c", "4", "-i", "0.2", "-W", "5", right.inside)
	indent(out)
	if err != nil {
		return err
	}
	step(fmt.Sprintf("left: iperf3 to %s through the tunnel, %d s each way", right.inside, seconds))
	for _, way := range []struct{ name, flag string }{{"left to right", ""}, {"right to left", "-R"}} {
		args := []string{"-t", fmt.Sprint(seconds)}
		if way.flag != "" {
			args = append(args, way.flag)
		}
		r, err := nstest.RunIperf(time.Duration(seconds+20)*time.Second, left.NS, right.NS, right.inside, args...)
		if err != nil {
			return err
		}
		fmt.Printf("    %s: %.2f Gbit/s (%d MB in %.1f s; both hosts share this machine's processors)\n", way.name, r.Gbps(), r.Bytes/1e6, r.Seconds)
	}
	return nil
}

// status shows what wg(8) says on both hosts.
func status(sides ...side) error {
	for _, s := range sides {
		step(s.Label + ": wg show " + s.WG)
		out, err := s.Run("wg", "show", s.WG)
		if err != nil {
			return err
		}
		indent(out)
	}
	return nil
}

func indent(text string) {
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		if strings.TrimSpace(line) != "" {
			fmt.Print("    ", line)
		}
	}
}
