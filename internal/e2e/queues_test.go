//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// With several queues no packet overtakes another of its flow: a hub and its
// leaves, each with two TUN queues and two sockets per family, carry numbered
// packets both ways, before and after the hub's and a leaf's port change and the
// hub's interface goes down and up. (While a port changes packets may overtake
// each other: they come through other sockets then.)
func TestQueuesKeepOrder(t *testing.T) {
	const leaves, flowsEach, packets, afterwards = 4, 4, 1000, 300
	if _, err := os.Stat("/proc/sys/" + mask); err != nil {
		t.Skip("needs a link that keeps the order: ", err)
	}
	t.Parallel()
	s := newStar(t, leaves, "CULVERT_QUEUES=2")
	var flows []*flow
	for i := range leaves {
		for j := range flowsEach {
			flows = append(flows, s.flows(t, i, 4000+10*i+j)...)
		}
	}
	var during era // of the packets sent now
	carry(t, flows, &during)
	reach := func(what string, n uint32) {
		t.Helper()
		e := during.Load()
		for _, f := range flows {
			eventually(t, 3*patience, fmt.Sprintf("%d packets of %s, %s", n, f.name, what), func() bool { return f.got(e) >= n })
		}
	}
	reach("at the start", packets)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"the hub's port changes", func() { command(t, s.hub.NS, "wg", "set", s.hub.WG, "listen-port", "51999") }},
		{"the hub's interface goes down and up", func() {
			must(t, s.hub.IP("link set "+s.hub.WG+" down"), s.hub.IP("link set "+s.hub.WG+" up"))
		}},
		{"a leaf's port changes", func() { command(t, s.leaves[0].NS, "wg", "set", s.leaves[0].WG, "listen-port", "51998") }},
	} {
		during.Add(1)
		c.do()
		during.Add(1)
		reach("just after "+c.what, 2*window)
		during.Add(1)
		reach("after "+c.what, afterwards)
	}
	for _, f := range flows {
		if n := f.overtaken.Load(); n > 0 {
			t.Errorf("%s: %d packets were overtaken, the first %s", f.name, n, *f.first.Load())
		}
	}
}

// era counts changes: packets sent during a multiple of 3 are sent when nothing
// changes, and have to arrive in order.
type era struct{ atomic.Uint32 }

const (
	eras   = 10 // most of them
	window = 32 // packets of a flow that are on their way
)

// flow is numbered packets through the tunnel. It never has more than window of
// them on their way, but for one more every stall when none arrives.
type flow struct {
	name      string
	from, to  *net.UDPConn
	highest   atomic.Uint32 // number that has arrived
	arrived   chan struct{}
	count     [eras]atomic.Uint32 // arrived, by era
	overtaken atomic.Uint32
	first     atomic.Pointer[string] // which
}

const stall = 20 * time.Millisecond

func (f *flow) got(era uint32) uint32 { return f.count[era].Load() }

// carry carries the flows until the test ends.
func carry(t *testing.T, flows []*flow, during *era) {
	stop, wg := make(chan struct{}), new(sync.WaitGroup)
	for _, f := range flows {
		wg.Go(func() { f.send(stop, during) }) // ends with stop
		wg.Go(f.receive)                       // ends when its socket is closed
	}
	t.Cleanup(func() {
		close(stop)
		for _, f := range flows {
			f.from.Close()
			f.to.Close()
		}
		wg.Wait()
	})
}

func (f *flow) send(stop <-chan struct{}, during *era) {
	timer := time.NewTimer(stall)
	defer timer.Stop()
	b := make([]byte, 200)
	for n := uint32(1); ; n++ {
		for waited := false; n > f.highest.Load()+window && !waited; {
			timer.Reset(stall)
			select {
			case <-stop:
				return
			case <-f.arrived:
			case <-timer.C:
				waited = true
			}
		}
		binary.BigEndian.PutUint32(b, during.Load())
		binary.BigEndian.PutUint32(b[4:], n)
		f.from.Write(b) // fails while the interface is down
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (f *flow) receive() {
	b, last := make([]byte, 300), uint32(0)
	for {
		if _, err := f.to.Read(b); err != nil {
			return
		}
		era, n := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		if n <= last && era%3 == 0 {
			f.overtaken.Add(1)
			f.first.CompareAndSwap(nil, new(fmt.Sprintf("%d by %d in era %d", n, last, era)))
		}
		if last = max(last, n); last > f.highest.Load() {
			f.highest.Store(last)
		}
		f.count[era].Add(1)
		select {
		case f.arrived <- struct{}{}:
		default:
		}
	}
}

// star is a hub and leaves, each in a namespace of its own and joined to it.
type star struct {
	hub    *nstest.Host
	leaves []*nstest.Host
}

const hubTun = "192.168.78.100"

func leafTun(i int) string { return fmt.Sprintf("192.168.78.%d", i+1) }

// newStar makes them, with daemons in that environment, ready for traffic.
func newStar(t *testing.T, leaves int, env ...string) *star {
	t.Helper()
	l := newLab(t)
	hub, err := l.NewHost("hub")
	must(t, err)
	s := &star{hub: hub}
	t.Cleanup(func() {
		if t.Failed() && hub.Daemon != nil {
			t.Log(hub.Daemon.Stderr())
		}
	})
	conf := fmt.Sprintf("ListenPort = %d\n", rightPort)
	for i := range leaves {
		leaf, err := l.NewHost(fmt.Sprintf("leaf %d", i))
		must(t, err)
		s.leaves = append(s.leaves, leaf)
		veth, subnet, port := fmt.Sprintf("veth%d", i), fmt.Sprintf("10.1.%d.", i), leftPort+10+i
		must(t,
			inOrder(hub.NS, leaf.NS, func() error { return nstest.Join(hub.NS, veth, leaf.NS, "veth0", 1500) }),
			hub.IP(nstest.AddAddress(subnet+"1/24", veth)), leaf.IP(nstest.AddAddress(subnet+"2/24", "veth0")),
			leaf.StartDaemon(ours, env...),
			leaf.Configure(fmt.Sprintf("ListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\nEndpoint = %s\n",
				port, hub.Public, hubTun, endpoint(subnet+"1", rightPort))),
			leaf.Up(1420, leafTun(i)+"/24"),
		)
		conf += fmt.Sprintf("[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\nEndpoint = %s\n", leaf.Public, leafTun(i), endpoint(subnet+"2", port))
	}
	must(t, hub.StartDaemon(ours, env...), hub.Configure(conf), hub.Up(1420, hubTun+"/24"))
	return s
}

// mask is where new interfaces have their RPS from, since Linux 6.3.
const mask = "net/core/rps_default_mask"

// inOrder has join connect two namespaces so that packets stay in order though
// they are sent on several cores: a veth gives them to the core they are sent on,
// and a busy one is late. With RPS all go to the first.
func inOrder(a, b *nstest.NS, join func() error) error {
	for _, n := range []*nstest.NS{a, b} {
		if err := n.Sysctl(mask, "1"); err != nil {
			return err
		}
		defer n.Sysctl(mask, "0") // the interfaces of the daemons are as they are
	}
	return join()
}

// flows makes the two between the hub and a leaf on one port: each is the answer
// to the other.
func (s *star) flows(t *testing.T, leaf, port int) []*flow {
	t.Helper()
	hub, there := &net.UDPAddr{IP: net.ParseIP(hubTun), Port: port}, &net.UDPAddr{IP: net.ParseIP(leafTun(leaf)), Port: port}
	var a, b *net.UDPConn
	must(t,
		s.hub.Do(func() (err error) { a, err = net.DialUDP("udp4", hub, there); return err }),
		s.leaves[leaf].Do(func() (err error) { b, err = net.DialUDP("udp4", there, hub); return err }),
	)
	return []*flow{
		{name: fmt.Sprintf("hub to leaf %d, port %d", leaf, port), from: a, to: b, arrived: make(chan struct{}, 1)},
		{name: fmt.Sprintf("leaf %d to hub, port %d", leaf, port), from: b, to: a, arrived: make(chan struct{}, 1)},
	}
}
