//go:build linux

package main

import (
	"strconv"
	"time"

	"culvert/internal/nstest"
)

// tcpPayload is what a packet of a TCP stream carries: the MTU without 20 bytes
// of IPv4 and 32 of TCP with time stamps. Packets of TCP are counted by it, and
// those with acknowledgements are not.
const tcpPayload = tunnelMTU - 52

// load runs iperf3 from left to right and gives what both daemons used
// meanwhile.
func load(t *tunnel, seconds int, args ...string) (nstest.Transfer, usage, error) {
	before := t.usage()
	r, err := nstest.RunIperf(time.Duration(seconds+30)*time.Second, t.left.NS, t.right.NS, target, append(args, "-t", strconv.Itoa(seconds))...)
	return r, t.usage().minus(before), err
}

// tcp measures streams of TCP, with these arguments to iperf3.
func tcp(name string, args ...string) func(*tunnel, *session) (values, error) {
	return func(t *tunnel, s *session) (values, error) {
		r, used, err := load(t, s.seconds, args...)
		if err != nil {
			return nil, err
		}
		bytes := r.Bytes + r.Back
		return values{
			name + " Gbit/s":          r.Gbps(),
			name + " CPU s/GB":        used.cpu.Seconds() / (float64(bytes) / 1e9),
			name + " switches/packet": used.switchesPer(bytes / tcpPayload),
			name + " segments resent": float64(r.Retrans),
		}, nil
	}
}
