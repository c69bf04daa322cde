//go:build linux

package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// test is one measurement in a fresh tunnel.
type test struct {
	name, doc string
	run       func(*tunnel, options) (values, error)
}

// tests are all there are, in the order they run in.
var tests = []test{
	{"idle", "memory of a daemon with one peer and a session, without traffic", idle},
	{"tcp1", "one TCP stream: rate, processor time, largest memory", tcp1},
	{"udp", "UDP of 1200 bytes: the highest rate that loses at most 1 %, and the processor time of a packet there", udp},
	{"flood", "udp without a limit: what arrives, processor time, largest memory", flood},
	{"ping", "round trips: flood, one every 2 ms, and beside a TCP stream", pings},
}

func testNames() (names []string) {
	for _, t := range tests {
		names = append(names, t.name)
	}
	return names
}

func testByName(name string) (test, bool) {
	for _, t := range tests {
		if t.name == name {
			return t, true
		}
	}
	return test{}, false
}

// idle waits until memory no longer changes: for 2 s at least, 10 at most.
func idle(t *tunnel, _ options) (values, error) {
	begin, last, since := time.Now(), 0.0, time.Now()
	nstest.Eventually(10*time.Second, func() bool {
		if now := t.memory("VmRSS"); now != last {
			last, since = now, time.Now()
		}
		return time.Since(begin) > 2*time.Second && time.Since(since) > time.Second
	})
	return values{"idle RSS MiB": last}, nil
}

// load runs iperf3 from left to right and also returns the processor time of
// both daemons meanwhile.
func load(t *tunnel, seconds int, args ...string) (nstest.Transfer, time.Duration, error) {
	before := t.cpu()
	r, err := nstest.RunIperf(time.Duration(seconds+30)*time.Second, t.left.NS, t.right.NS, target, append(args, "-t", strconv.Itoa(seconds))...)
	return r, t.cpu() - before, err
}

func tcp1(t *tunnel, o options) (values, error) {
	r, cpu, err := load(t, o.seconds)
	if err != nil {
		return nil, err
	}
	return values{
		"tcp1 Gbit/s":       r.Gbps(),
		"tcp1 CPU s/GB":     cpu.Seconds() / (float64(r.Bytes) / 1e9),
		"tcp1 peak RSS MiB": t.memory("VmHWM"),
	}, nil
}

// udpSize is the payload of the UDP tests in bytes.
const udpSize = 1200

// offer sends UDP at a rate in packets a second.
func offer(t *tunnel, seconds int, rate float64) (nstest.Transfer, time.Duration, error) {
	return load(t, seconds, "-u", "-l", strconv.Itoa(udpSize), "-b", strconv.FormatInt(int64(rate*udpSize*8), 10), "--pacing-timer", "100")
}

// udp looks for the highest rate with at most 1 % of loss by bisection, until
// it is known to 5 %. A rate is refused when it loses more three times running.
// The search ends where the sender cannot offer more and what it sent arrived.
func udp(t *tunnel, o options) (values, error) {
	const precision = 1.05
	good, bad := 0.0, math.Inf(1) // packets a second
	var cost float64
	for rate, step := 20e3, 0; step < 12 && bad > good*precision; step++ {
		r, cpu, err := offerPatiently(t, max(1, o.seconds/2), rate)
		if err != nil {
			return nil, err
		}
		sent, got := float64(r.Packets)/r.Seconds, float64(r.Received())/r.Seconds
		switch {
		case r.LossPercent() > allowedLoss:
			bad = min(rate, sent)
		case sent < 0.9*rate:
			bad = got // the sender's end
			fallthrough
		default:
			if got > good {
				good, cost = got, cpu.Seconds()*1e6/float64(r.Received())
			}
		}
		if rate = good * 2; !math.IsInf(bad, 1) {
			rate = (good + bad) / 2
		}
	}
	return values{"udp kpps at 1% loss": good / 1e3, "udp CPU us/packet": cost}, nil
}

// allowedLoss is in percent.
const allowedLoss = 1.0

// offerPatiently offers a rate up to three times while too much is lost: the
// machine may have been busy with something else.
func offerPatiently(t *tunnel, seconds int, rate float64) (r nstest.Transfer, cpu time.Duration, err error) {
	for range 3 {
		r, cpu, err = offer(t, seconds, rate)
		if err != nil || r.LossPercent() <= allowedLoss {
			break
		}
	}
	return r, cpu, err
}

func flood(t *tunnel, o options) (values, error) {
	r, cpu, err := offer(t, o.seconds, 0)
	if err != nil {
		return nil, err
	}
	return values{
		"flood kpps received": float64(r.Received()) / r.Seconds / 1e3,
		"flood CPU us/packet": cpu.Seconds() * 1e6 / float64(max(1, r.Received())),
		"flood peak RSS MiB":  t.memory("VmHWM"),
	}, nil
}

// rtt is ping's last line: least/mean/largest/deviation in ms.
var rtt = regexp.MustCompile(`= ([\d.]+)/([\d.]+)/`)

// ping returns the least and the mean round trip in microseconds.
func ping(t *tunnel, args ...string) (least, mean float64, err error) {
	out, err := t.left.Run(append(append([]string{"ping", "-n", "-q"}, args...), target)...)
	if err != nil {
		return 0, 0, err
	}
	m := rtt.FindStringSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("ping: no figures in %q", strings.TrimSpace(out))
	}
	least, _ = strconv.ParseFloat(m[1], 64)
	mean, _ = strconv.ParseFloat(m[2], 64)
	return least * 1e3, mean * 1e3, nil
}

func pings(t *tunnel, o options) (values, error) {
	_, flood, err := ping(t, "-f", "-c", "5000")
	if err != nil {
		return nil, err
	}
	least, _, err := ping(t, "-i", "0.002", "-c", "500")
	if err != nil {
		return nil, err
	}
	stream, err := nstest.StartIperf(t.left.NS, t.right.NS, target, "-t", strconv.Itoa(o.seconds+10))
	if err != nil {
		return nil, err
	}
	defer stream.Stop()
	// The stream has begun when the daemons have moved some of it.
	busy := t.cpu() + 200*time.Millisecond
	nstest.Eventually(10*time.Second, func() bool { return t.cpu() > busy })
	_, loaded, err := ping(t, "-i", "0.005", "-w", strconv.Itoa(o.seconds))
	if err != nil {
		return nil, err
	}
	return values{"ping flood us": flood, "ping 2 ms least us": least, "ping under TCP us": loaded}, nil
}
