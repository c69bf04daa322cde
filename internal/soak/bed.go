//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/internal/nstest"
)

// Addresses: left is .1, right is .2, and .4 where it roams to. Ports of the daemons.
const (
	left4, right4, roamed4 = "10.0.0.1", "10.0.0.2", "10.0.0.4"
	leftVeth, rightVeth    = "veth1", "veth2"
	leftTun4, rightTun4    = "192.168.77.1", "192.168.77.2"
	leftTun6, rightTun6    = "fd77::1", "fd77::2"
	leftPort, rightPort    = 51821, 51822
	tunnelMTU, underlayMTU = 1420, 1500
	settle, settlePatience = 100 * time.Millisecond, 2 * time.Second
	recovery               = 15 * time.Second // after what loses packets: three initiations
	giveBack               = 5 * time.Second  // what was not needed for 2 to 4 s goes back to the system
	warmUp                 = 0.25             // of the samples, not judged
)

// bed is two hosts with a daemon each, and flows through their tunnel.
type bed struct {
	options
	lab         *nstest.Lab
	left, right *nstest.Host
	flows       []*flow
	roamed      bool
	psk         string
	strangers   []string // public keys of peers that come and go
}

// newBed makes all, and waits until every flow has carried a packet.
func newBed(o options) (b *bed, err error) {
	b = &bed{options: o, psk: nstest.NewPSK()}
	if b.lab, err = nstest.New(); err != nil {
		return nil, err
	}
	if err = errors.Join(b.hosts(), b.tunnel()); err == nil {
		err = b.open()
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	for range 50 {
		b.strangers = append(b.strangers, nstest.NewKeys().Public)
	}
	return b, nil
}

// close ends the flows and all of the lab.
func (b *bed) close() error {
	for _, f := range b.flows {
		f.close()
	}
	return b.lab.Close()
}

func (b *bed) hosts() (err error) {
	if b.left, err = b.lab.NewHost("left"); err != nil {
		return err
	}
	if b.right, err = b.lab.NewHost("right"); err != nil {
		return err
	}
	if err := nstest.Join(b.left.NS, leftVeth, b.right.NS, rightVeth, underlayMTU); err != nil {
		return err
	}
	if err := b.left.IP("addr add " + left4 + "/24 dev " + leftVeth); err != nil {
		return err
	}
	return b.right.IP("addr add "+right4+"/24 dev "+rightVeth, "addr add "+roamed4+"/24 dev "+rightVeth)
}

// tunnel starts the daemons and makes them peers.
func (b *bed) tunnel() error {
	if b.left == nil || b.right == nil {
		return nil // hosts has failed
	}
	for _, h := range []*nstest.Host{b.left, b.right} {
		if err := h.StartDaemon(b.program); err != nil {
			return err
		}
	}
	return errors.Join(
		b.left.Configure(fmt.Sprintf("ListenPort = %d\n%s", leftPort, b.peerSection(b.right, rightTun4, rightTun6, right4, rightPort))),
		b.right.Configure(fmt.Sprintf("ListenPort = %d\n%s", rightPort, b.peerSection(b.left, leftTun4, leftTun6, left4, leftPort))),
		b.left.Up(tunnelMTU, leftTun4+"/24", leftTun6+"/64"),
		b.right.Up(tunnelMTU, rightTun4+"/24", rightTun6+"/64"),
	)
}

func (b *bed) peerSection(h *nstest.Host, tun4, tun6, at string, port int) string {
	return fmt.Sprintf("[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s/32, %s/128\nEndpoint = %s:%d\n", h.Public, b.psk, tun4, tun6, at, port)
}

// open makes the flows.
func (b *bed) open() error {
	for _, d := range []struct {
		name     string
		from, to *nstest.Host
		at, dest string
	}{
		{"left to right, IPv4", b.left, b.right, leftTun4, rightTun4},
		{"right to left, IPv4", b.right, b.left, rightTun4, leftTun4},
		{"left to right, IPv6", b.left, b.right, leftTun6, rightTun6},
		{"right to left, IPv6", b.right, b.left, rightTun6, leftTun6},
	} {
		f, err := newFlow(d.name, d.from.NS, d.to.NS, d.at, d.dest)
		if err != nil {
			return err
		}
		b.flows = append(b.flows, f)
	}
	return nil
}

// run runs phases until the time is over and every disturbance was there, and
// judges. The error is of the bed, not of the daemons; what was seen until then is in r.
func (b *bed) run(ctx context.Context, r *result) error {
	if err := b.phase(r, disturbance{name: "start", loses: true, do: func(*bed) error { return nil }}); err != nil {
		return err
	}
	var err error
	if r.AtRest[0], err = b.rest(r, func(sample) bool { return true }); err != nil {
		return err
	}
	for cycle := 0; cycle == 0 || time.Since(r.Begin) < b.length; cycle++ {
		for _, d := range disturbances {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := b.phase(r, d); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
		last := r.Samples[len(r.Samples)-1]
		progress("%6.1f min: cycle %d, %d packets sent, %d lost without a reason, %d found; left %s; right %s",
			time.Since(r.Begin).Minutes(), cycle+1, r.Sent, r.Unexplained, len(r.Found), last.Left, last.Right)
	}
	if r.AtRest[1], err = b.rest(r, r.gaveBack); err != nil {
		return err
	}
	r.judge()
	return nil
}

// rest waits until both daemons have given back memory that they do not need. The shortest
// soak has time for that only if it is not enough to look at once.
func (b *bed) rest(r *result, enough func(s sample) bool) (s sample, err error) {
	if b.length == 0 {
		if s, err = b.sample(time.Since(r.Begin)); err != nil || enough(s) {
			return s, err
		}
	}
	time.Sleep(giveBack)
	return b.sample(time.Since(r.Begin))
}

// phase is one: traffic, the disturbance a quarter into it, and a sample.
func (b *bed) phase(r *result, d disturbance) error {
	number := uint32(r.Phases + 1)
	for _, f := range b.flows {
		f.begin(number, b.rate)
	}
	time.Sleep(b.options.phase / 4)
	err := d.do(b)
	time.Sleep(b.options.phase * 3 / 4)
	back := true
	if d.loses {
		back = b.back()
	}
	for _, f := range b.flows {
		f.end()
	}
	if err != nil {
		return err
	}
	b.settle()
	s, err := b.sample(time.Since(r.Begin))
	if err != nil {
		return err
	}
	r.add(d, s, b.tallies(), back)
	return nil
}

// back waits until every flow carries packets.
func (b *bed) back() bool {
	before := b.tallies()
	return nstest.Eventually(recovery, func() bool {
		for i, f := range b.flows {
			if f.tally().Received <= before[i].Received {
				return false
			}
		}
		return true
	})
}

// settle waits until all that was sent has arrived, or nothing comes any more.
func (b *bed) settle() {
	deadline := time.Now().Add(settlePatience)
	for time.Now().Before(deadline) {
		missing := uint64(0)
		for _, t := range b.tallies() {
			missing += t.Sent - min(t.Sent, t.Received)
		}
		if missing == 0 {
			break
		}
		time.Sleep(settle)
	}
	time.Sleep(settle)
}

func (b *bed) tallies() (all []tally) {
	for _, f := range b.flows {
		all = append(all, f.tally())
	}
	return all
}
