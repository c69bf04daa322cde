package sim

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"culvert/conn/conntest"
	"culvert/device"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/tun/tuntest"
)

// node is a device and what the world knows of it. Everything but the device's own
// parts belongs to the driver.
type node struct {
	w    *world
	id   int
	name string
	plan nodePlan

	dev   *device.Device
	tun   *tuntest.TUN
	host  *conntest.Host
	clock *skewed
	uapi  *uapi

	priv       config.PrivateKey
	identities []*noise.Identity // all it has had, the last one is in use
	port       uint16
	addrs      []netip.Addr
	nat        *nat // nil: none
	moves      int  // times it got other addresses
	up         bool
	keyless    bool         // it has no private key
	slow       bool         // what it delivers is taken now and then
	refusing   atomic.Int32 // sends fail while it is not 0
	tunFailing atomic.Int32 // and writes to the TUN
	jumpedAt   clock.Time   // when its clocks jumped last
	peers      []*peer
	heard      []arrival // some of what arrived, to be replayed

	disordered []*progress // of flows to here, in the group in hand
	unanswered []*sent     // initiations in the group in hand, when all is well
	queue      []group     // what it is given at this instant, one after the other
	tally      tally
}

// newNode makes a node and its device, with a key, a port and no peers.
func newNode(w *world, id int, p nodePlan) *node {
	n := &node{w: w, id: id, name: nodeName(id), plan: p, port: 51820, up: true}
	n.tun = tuntest.NewUp(1420)
	n.tun.SetDepth(p.depth)
	n.tun.SetQueues(p.shards)
	n.address()
	n.host = w.net.Host(n.addrs...)
	n.host.SetShards(p.shards)
	w.byHost[n.host] = n
	n.clock = &skewed{base: time.Now()}
	n.newKey()
	opts := device.Options{Clock: n.clock, Workers: p.workers, AlwaysParallel: p.workers > 0, Budget: p.budget,
		Rand: newStream(w.plan.seed, uint64(id)), Jitter: n.jitter}
	if os.Getenv("SIM_LOG") != "" {
		opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.name)
	}
	n.host.Refuse(func(netip.AddrPort) error { return n.refusal() })
	n.tun.FailWrites(func([]byte) error { return n.tunFailure() })
	var err error
	if n.dev, err = device.New(n.tun, n.host, opts); err != nil {
		panic(err)
	}
	n.uapi = serve(n.dev)
	return n
}

// nodeName is a, b, c ...
func nodeName(id int) string { return string(rune('a' + id)) }

// newKey draws another private key.
func (n *node) newKey() {
	b := newStream(n.w.plan.seed, uint64(n.id)<<32|uint64(len(n.identities)+1)<<16)
	b.Read(n.priv[:])
	n.priv.Clamp()
	id, err := noise.NewIdentity(&n.priv)
	if err != nil {
		panic(err)
	}
	n.identities = append(n.identities, id)
}

func (n *node) public() config.PublicKey { return n.identities[len(n.identities)-1].PublicKey() }

// address gives n outer addresses that nobody had before.
func (n *node) address() {
	i, k := byte(n.id+1), byte(n.moves)
	n.moves++
	if n.plan.nat {
		if n.nat == nil {
			n.addrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 168, i, 2})}
			n.nat = &nat{}
		}
		n.nat.rebind(netip.AddrFrom4([4]byte{203, 0, 113 + k/2, i}))
		return
	}
	n.addrs = []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100 + k, i})}
	if n.plan.six {
		n.addrs = append(n.addrs, netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", k, i)))
	}
}

// endpoint is where servers can be reached.
func (n *node) endpoint(six bool) netip.AddrPort {
	if six {
		return netip.AddrPortFrom(n.addrs[1], n.port)
	}
	return netip.AddrPortFrom(n.addrs[0], n.port)
}

// now is the node's boot-time clock.
func (n *node) now() clock.Time { return n.clock.Now() }

// jitter depends on the instant alone, so that it makes no difference in which order
// goroutines, or peers, draw it.
func (n *node) jitter(most time.Duration) time.Duration { return n.jitterAt(n.w.now(), most) }

// jitterAt is the jitter that was drawn at an instant.
func (n *node) jitterAt(at, most time.Duration) time.Duration {
	r := rand.NewPCG(n.w.plan.seed^uint64(n.id)<<48, uint64(at))
	return time.Duration(r.Uint64() % uint64(most))
}

// skewed is a node's clocks: they follow the bubble's, and jump when told to.
type skewed struct {
	base       time.Time
	boot, wall atomic.Int64 // ns ahead
}

// Now implements [clock.Clock].
func (c *skewed) Now() clock.Time {
	return clock.Time(time.Since(c.base) + time.Second + time.Duration(c.boot.Load()))
}

// Wall implements [clock.Clock].
func (c *skewed) Wall() time.Time { return time.Now().Add(time.Duration(c.wall.Load())) }

// stream is an endless stream of bytes that depends on two numbers alone. Safe for
// concurrent use.
type stream struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newStream(a, b uint64) *stream {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], a)
	binary.LittleEndian.PutUint64(s[8:], b)
	return &stream{r: rand.NewChaCha8(s)}
}

// Read implements [io.Reader].
func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}
