//go:build linux

package main

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"culvert/device/config"
	"culvert/internal/nstest"
)

// One daemon, the hub, has 50 peers. The other ends are keys and sockets of
// this process, each on a port of its own, and not daemons: 50 of those would
// share two cores with the hub, and what they get of them would decide what
// each delivers. Every end is offered, and offers, the same, packet by packet
// in turn, more than the hub can do; so how the deliveries differ is the hub's
// doing. UDP, because the shares of 50 TCP streams differ by themselves for
// longer than a few seconds.
const (
	hubPeers    = 50
	hubSize     = 1200  // payload, bytes
	hubRate     = 120e3 // packets a second, all peers together
	hubPort     = 51821
	endPort     = 53000 // the first
	longestHub  = 8     // seconds: an end that answers nothing gets a new handshake after 15
	idleLoss    = 0.03  // with less the hub had no more to do than it could
	hubInner    = "10.98.0.1"
	firstPeerIP = "10.98.1." // and 1 to 50
)

// hub is the daemon and its ends.
type hub struct {
	host    *nstest.Host
	outside *nstest.NS
	ends    []*end
	seconds float64
}

func fiftyPeers(p program, s *session) (v values, err error) {
	lab, err := nstest.New()
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	h := &hub{seconds: float64(min(s.seconds, longestHub))}
	defer func() {
		for _, e := range h.ends {
			e.close()
		}
	}()
	if err := h.start(lab, p); err != nil {
		return nil, err
	}
	in, inOffered, err := h.in(s)
	if err != nil {
		return nil, err
	}
	inRSS := memory(h.host.Daemon.PID, "VmHWM")
	out, outOffered, err := h.out(s)
	if err != nil {
		return nil, err
	}
	v = values{
		"50 peers least share":  min(leastShare(in), leastShare(out)),
		"RSS peers in peak MiB": inRSS,
		"RSS peers peak MiB":    memory(h.host.Daemon.PID, "VmHWM"),
	}
	for _, d := range []struct {
		name    string
		counts  []int64
		offered sent
	}{{"50 peers in", in, inOffered}, {"50 peers out", out, outOffered}} {
		v[d.name+" kpps"] = float64(sum(d.counts)) / d.offered.seconds / 1e3
		v[d.name+" kpps offered"] = d.offered.rate() / 1e3
		v[d.name+" least share"] = leastShare(d.counts)
		if float64(sum(d.counts)) > (1-idleLoss)*float64(d.offered.packets) {
			s.note("%s: it delivered all that could be offered, so there was little to be unfair about", d.name)
		}
	}
	return v, lab.Close()
}

func sum(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// leastShare is what the worst got of a fair share.
func leastShare(counts []int64) float64 {
	if total := sum(counts); total > 0 {
		return float64(slices.Min(counts)) * float64(len(counts)) / float64(total)
	}
	return 0
}

// start starts the hub, and a session with each end.
func (h *hub) start(lab *nstest.Lab, p program) error {
	host, outside, err := hosts(lab, "hub", "peers")
	if err != nil {
		return err
	}
	h.host, h.outside = host, outside.NS
	var conf strings.Builder
	fmt.Fprintf(&conf, "ListenPort = %d\n", hubPort)
	for i := range hubPeers {
		inner := netip.MustParseAddr(fmt.Sprintf("%s%d", firstPeerIP, i+1))
		e, err := newEnd(h.outside, inner, endPort+i, unix.SockaddrInet4{Addr: [4]byte{10, 99, 0, 1}, Port: hubPort})
		if err != nil {
			return err
		}
		h.ends = append(h.ends, e)
		fmt.Fprintf(&conf, "[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\n", e.id.PublicKey(), inner)
	}
	if err := host.StartDaemon(p.Program); err != nil {
		return err
	}
	if err := host.Configure(conf.String()); err != nil {
		return err
	}
	if err := host.Up(tunnelMTU, hubInner+"/16"); err != nil {
		return err
	}
	var public config.PublicKey
	if _, err := base64.StdEncoding.Decode(public[:], []byte(host.Public)); err != nil {
		return err
	}
	for i, e := range h.ends {
		if err := e.handshake(public, uint32(i+1)); err != nil {
			return fmt.Errorf("peer %d: %w", i+1, err)
		}
	}
	return nil
}

// in has all ends send to the hub, and gives what arrived of each.
func (h *hub) in(s *session) ([]int64, sent, error) {
	run := lastRun.Add(1)
	to := netip.AddrPortFrom(netip.MustParseAddr(hubInner), udpPort)
	for i, e := range h.ends {
		e.carry(to, payloadOf(hubSize, run, i))
	}
	c, err := count(h.host.NS, udpPort, run, len(h.ends))
	if err != nil {
		return nil, sent{}, err
	}
	var done sent
	err = h.outside.Do(func() (err error) { // for its thread
		done, err = pace(hubRate, udpGap, h.seconds, func(after int64, n int) (int, error) {
			for i := range n {
				e := h.ends[(after+int64(i))%int64(len(h.ends))]
				if err := e.send(e.plain); err != nil {
					return i, err
				}
			}
			return n, nil
		})
		return err
	})
	counts, failed := c.end(s)
	if err == nil {
		err = failed
	}
	return counts, done, err
}

// out has the hub's system send to all ends, and gives what arrived at each.
func (h *hub) out(s *session) ([]int64, sent, error) {
	f := flow{from: h.host.NS, size: hubSize, rate: hubRate, gap: udpGap, seconds: h.seconds}
	for _, e := range h.ends {
		f.to = append(f.to, netip.AddrPortFrom(e.inner, udpPort))
	}
	a, err := listen(h.ends, transportSize(hubSize))
	if err != nil {
		return nil, sent{}, err
	}
	done, err := f.send()
	counts, failed := a.end()
	if err == nil {
		err = failed
	}
	for _, e := range h.ends {
		if socketDrops(e.fd) > 0 {
			s.note(droppedNote)
		}
	}
	return counts, done, err
}
