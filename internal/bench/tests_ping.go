//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"culvert/internal/nstest"
)

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

func pings(t *tunnel, s *session) (values, error) {
	_, flood, err := ping(t, "-f", "-c", "5000")
	if err != nil {
		return nil, err
	}
	least, _, err := ping(t, "-i", "0.002", "-c", "500")
	if err != nil {
		return nil, err
	}
	stream, err := nstest.StartIperf(t.left.NS, t.right.NS, target, "-t", strconv.Itoa(s.seconds+10))
	if err != nil {
		return nil, err
	}
	defer stream.Stop()
	// The stream has begun when the daemons have moved some of it.
	busy := t.usage().cpu + 200*time.Millisecond
	nstest.Eventually(10*time.Second, func() bool { return t.usage().cpu > busy })
	_, loaded, err := ping(t, "-i", "0.005", "-w", strconv.Itoa(s.seconds))
	if err != nil {
		return nil, err
	}
	return values{"ping flood mean us": flood, "ping 2 ms least us": least, "ping under TCP mean us": loaded}, nil
}
