package conntest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Network connects hosts. Safe for concurrent use. Close it when done.
type Network struct {
	mu     sync.Mutex // guards all of the network: hosts, sockets, queues
	seed   uint64
	closed bool
	hosts  map[netip.Addr]*Host
	all    []*Host
	link   Link // for pairs without one of their own
	paths  map[pair]*path

	flying heap
	order  uint64 // of datagrams sent, breaks ties
	timer  *time.Timer
	gro    bool
	queue  int
	count  Counters

	hold func() // not nil: what is sent is held for Take, and this called
	held []Datagram
}

// pair is a direction from one host to another.
type pair struct{ from, to *Host }

// path is what one direction has of its own. Its randomness is its own too, so
// that traffic elsewhere does not change what happens here.
type path struct {
	link Link
	rand *rand.Rand
	down bool
}

// Link says what happens to datagrams in one direction. Rates are between 0
// (never) and 1 (always). The zero value delivers all at once and in order.
type Link struct {
	Delay     time.Duration // every datagram
	Jitter    time.Duration // up to so much more, which reorders
	Loss      float64
	Duplicate float64
	Corrupt   float64 // one bit is flipped
	Reorder   float64 // held back by ReorderBy
	ReorderBy time.Duration
	CE        float64 // congestion experienced is set if ECN-capable (ECT)
	ClearTOS  bool    // the TOS is zeroed on the way
}

// Counters tell what became of datagrams.
type Counters struct {
	Sent        uint64 // datagrams given to the network
	Delivered   uint64 // copies put into a receiver's queue
	Lost        uint64 // by Loss
	Duplicated  uint64
	Corrupted   uint64
	Reordered   uint64
	Marked      uint64 // CE
	Blocked     uint64 // by a partition
	Unreachable uint64 // no such host, or nobody on that port
	QueueFull   uint64 // the receiver's queue was full
	FlyingFull  uint64 // too many were on their way
}

const (
	// DefaultQueue is how many datagrams a socket keeps that nobody reads.
	DefaultQueue = 4096
	// maxFlying bounds delayed datagrams on their way.
	maxFlying = 1 << 18
)

// NewNetwork makes a network without hosts, with perfect links. What the
// links do to datagrams follows from the seed and the order of sending between
// two hosts.
func NewNetwork(seed uint64) *Network {
	return &Network{
		seed:  seed,
		hosts: map[netip.Addr]*Host{},
		paths: map[pair]*path{},
		queue: DefaultQueue,
	}
}

// SetGRO has Receive merge datagrams that follow each other and are equal in
// size, source, destination and TOS, as Linux does.
func (n *Network) SetGRO(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gro = on
}

// SetQueue sets how many datagrams a socket keeps; more are dropped.
func (n *Network) SetQueue(datagrams int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = datagrams
}

// SetDefaultLink sets what happens between hosts that have no link of their
// own, also those made later.
func (n *Network) SetDefaultLink(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = l
	for p, path := range n.paths {
		if !p.from.hasLink[p.to] {
			path.link = l
		}
	}
}

// SetLink sets what happens between two hosts, in both directions.
func (n *Network) SetLink(a, b *Host, l Link) {
	n.SetOneWay(a, b, l)
	n.SetOneWay(b, a, l)
}

// SetOneWay sets what happens to datagrams from one host to another.
func (n *Network) SetOneWay(from, to *Host, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from.hasLink[to] = true
	n.path(from, to).link = l
}

// Partition stops datagrams between two hosts, in both directions. Those on
// their way still arrive.
func (n *Network) Partition(a, b *Host) { n.setDown(a, b, true) }

// Heal ends a partition.
func (n *Network) Heal(a, b *Host) { n.setDown(a, b, false) }

func (n *Network) setDown(a, b *Host, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path(a, b).down = down
	n.path(b, a).down = down
}

// Counters tells what happened so far.
func (n *Network) Counters() Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count
}

// Close closes all sockets, drops what is on its way and stops the timer.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, h := range n.all {
		for _, s := range h.ports {
			s.close()
		}
	}
	n.flying = nil
	if n.timer != nil {
		n.timer.Stop()
	}
}

// Host makes a host with these addresses. The first one of each family is the
// source of what is sent without one. It panics if an address is taken.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{net: n, id: uint64(len(n.all) + 1), ports: map[uint16]*sockets{}, hasLink: map[*Host]bool{}}
	n.all = append(n.all, h)
	n.assign(h, addrs)
	return h
}

func (n *Network) assign(h *Host, addrs []netip.Addr) {
	for _, a := range h.addrs {
		delete(n.hosts, a)
	}
	h.addrs = nil
	for _, a := range addrs {
		if n.hosts[a] != nil {
			panic(fmt.Sprintf("conntest: address %v is taken", a))
		}
		n.hosts[a] = h
		h.addrs = append(h.addrs, a)
	}
}

func (n *Network) path(from, to *Host) *path {
	p := n.paths[pair{from, to}]
	if p == nil {
		p = &path{link: n.link, rand: rand.New(rand.NewPCG(n.seed, from.id<<32|to.id))}
		n.paths[pair{from, to}] = p
	}
	return p
}
