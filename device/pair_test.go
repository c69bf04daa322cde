package device

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/noise/noisetest"
	"culvert/tun/tuntest"
)

// The kit of the device's tests: hosts with a device each, on a lan. Call it
// inside a testing/synctest bubble; time is the bubble's.

// host is a device with its TUN, its key and its addresses.
type host struct {
	t      *testing.T
	name   string
	d      *Device
	tun    *tuntest.TUN
	net    *lanHost
	key    config.PrivateKey
	public config.PublicKey
	outer  netip.AddrPort
	inner4 netip.Addr
	inner6 netip.Addr
	once   sync.Once
}

// newHost makes host n (1, 2, ...): outer address 192.0.2.n:51820, inner
// addresses 10.0.0.n and fd00::n. It is up and has a private key, but no peers.
// When the test ends it is closed and searched for leaks.
func newHost(t *testing.T, l *lan, n byte, opts Options) *host {
	t.Helper()
	return newShardedHost(t, l, n, 1, opts)
}

// newShardedHost is newHost with several TUN queues, and sockets per family.
func newShardedHost(t *testing.T, l *lan, n byte, shards int, opts Options) *host {
	t.Helper()
	h := &host{t: t, name: string('a' + rune(n) - 1), tun: tuntest.NewUp(1420),
		key:    noisetest.Key(noisetest.Rand(uint64(n))),
		outer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 51820),
		inner4: netip.AddrFrom4([4]byte{10, 0, 0, n}),
		inner6: netip.MustParseAddr(fmt.Sprintf("fd00::%x", n)),
	}
	id, err := noise.NewIdentity(&h.key)
	if err != nil {
		t.Fatal(err)
	}
	h.public = id.PublicKey()
	h.tun.SetQueues(shards)
	h.net = l.host(h.outer.Addr(), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n)))
	h.net.SetShards(shards)
	if opts.Clock == nil {
		opts.Clock = clock.Virtual()
	}
	if os.Getenv("CULVERT_TEST_LOG") != "" {
		opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", h.name)
	}
	var network conn.Network = h.net
	if l.lanes {
		network = laneHost{h.net}
	}
	if h.d, err = New(h.tun, network, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	h.configure(&config.Update{HasPrivateKey: true, PrivateKey: h.key, HasListenPort: true, ListenPort: h.outer.Port()})
	synctest.Wait()
	return h
}

// close closes the device and fails the test if anything is left of it. That no
// goroutine is left is seen by synctest.
func (h *host) close() {
	h.once.Do(func() {
		id, remotes := h.d.identity.Load(), []*remote(nil)
		h.d.byKey.mu.RLock()
		for _, p := range h.d.byKey.m {
			remotes = append(remotes, p.remote.Load())
		}
		h.d.byKey.mu.RUnlock()
		h.d.Close()
		if id != nil && !id.gone() {
			h.t.Errorf("%s: the private key is not wiped, it is held %d times", h.name, id.refs.Load())
		}
		for _, r := range remotes {
			if r != nil && !r.gone() {
				h.t.Errorf("%s: secrets of a peer are not wiped, they are held %d times", h.name, r.refs.Load())
			}
		}
		if n := h.d.outPool.inUse(); n != 0 {
			h.t.Errorf("%s: %d outbound batches were not given back", h.name, n)
		}
		if n := h.d.inPool.inUse(); n != 0 {
			h.t.Errorf("%s: %d inbound batches were not given back", h.name, n)
		}
		if n := h.d.readPool.inUse(); n != 0 {
			h.t.Errorf("%s: %d chunks of a backlog were not given back", h.name, n)
		}
		if n := h.d.budget.used.Load(); n != 0 {
			h.t.Errorf("%s: %d bytes of the budget were not given back", h.name, n)
		}
		if n := h.d.stageBudget.used.Load(); n != 0 {
			h.t.Errorf("%s: %d bytes of staged packets were not given back", h.name, n)
		}
		if n := h.d.index.len(); n != 0 {
			h.t.Errorf("%s: %d indices were not released", h.name, n)
		}
		if n := h.d.controller.wheel.Len(); n != 0 {
			h.t.Errorf("%s: %d peers are still in the wheel", h.name, n)
		}
	})
}

func (h *host) configure(u *config.Update) {
	h.t.Helper()
	if err := h.d.Configure(u); err != nil {
		h.t.Fatalf("%s: configure: %v", h.name, err)
	}
}

// peerOf is the section that makes o a peer of whoever applies it.
func peerOf(o *host) config.PeerUpdate {
	return config.PeerUpdate{PublicKey: o.public, Endpoint: o.outer, AllowedIPs: []config.AllowedIP{
		{Prefix: netip.PrefixFrom(o.inner4, 32)}, {Prefix: netip.PrefixFrom(o.inner6, 128)}}}
}

// knows makes others peers of h.
func (h *host) knows(others ...*host) {
	h.t.Helper()
	u := &config.Update{}
	for _, o := range others {
		u.Peers = append(u.Peers, peerOf(o))
	}
	h.configure(u)
}

// peer is h's notion of o.
func (h *host) peer(o *host) *peer { return h.d.lookup(o.public) }

// drops is how often h dropped a packet for that reason.
func (h *host) drops(r Reason) uint64 { return h.d.drops.load(r) }

// wantDrops fails the test unless h dropped as many packets for each reason,
// and none for any other.
func (h *host) wantDrops(want map[Reason]uint64) {
	h.t.Helper()
	for r := notDropped; r < numReasons; r++ {
		if got := h.drops(r); got != want[r] {
			h.t.Errorf("%s dropped %d packets as %v, not %d", h.name, got, r, want[r])
		}
	}
}

// allDrops says what h dropped.
func (h *host) allDrops() string {
	var said []string
	for r := notDropped; r < numReasons; r++ {
		if n := h.drops(r); n > 0 {
			said = append(said, fmt.Sprintf("%d %v", n, r))
		}
	}
	return h.name + " dropped " + strings.Join(said, ", ")
}

// packet4 is a packet of h to o with that payload, packet6 the same over IPv6.
func (h *host) packet4(o *host, payload string) []byte {
	return tuntest.UDP(netip.AddrPortFrom(h.inner4, 1000), netip.AddrPortFrom(o.inner4, 2000), []byte(payload))
}

func (h *host) packet6(o *host, payload string) []byte {
	return tuntest.UDP(netip.AddrPortFrom(h.inner6, 1000), netip.AddrPortFrom(o.inner6, 2000), []byte(payload))
}

// send puts a packet into h's TUN.
func (h *host) send(packet []byte) {
	h.t.Helper()
	if !h.tun.Send(packet) {
		h.t.Fatalf("%s: the TUN is down", h.name)
	}
}

// received is what has come out of h's TUN, when nothing moves any more.
func (h *host) received() (all [][]byte) {
	synctest.Wait()
	for {
		p, ok := h.tun.TryRecv()
		if !ok {
			return all
		}
		all = append(all, p)
	}
}

// wantReceived fails the test unless exactly these packets have come out.
func (h *host) wantReceived(want ...[]byte) {
	h.t.Helper()
	got := h.received()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			h.t.Fatalf("%s: packet %d is not what was sent:\n% x\n% x", h.name, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		h.t.Fatalf("%s received %d packets, not %d", h.name, len(got), len(want))
	}
}

// status is what Describe says of o.
func (h *host) status(o *host) (found config.Peer) {
	h.t.Helper()
	err := h.d.Describe(func(*config.Interface) error { return nil }, func(p *config.Peer) error {
		if p.PublicKey == o.public {
			found = *p
			found.AllowedIPs = append([]netip.Prefix(nil), p.AllowedIPs...)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// pair is two hosts that know each other.
type pair struct {
	lan      *lan
	a, b     *host
	parallel bool // so handshakes and data may overtake each other
}

// newPair makes them. Nothing was sent yet.
func newPair(t *testing.T, opts Options) *pair {
	t.Helper()
	l := newLAN(t)
	p := &pair{lan: l, a: newHost(t, l, 1, opts), b: newHost(t, l, 2, opts), parallel: opts.AlwaysParallel}
	p.a.knows(p.b)
	p.b.knows(p.a)
	return p
}

// connect makes a session, begun by a, and forgets what was sent for it.
func (p *pair) connect() {
	p.a.t.Helper()
	x, y := p.a.packet4(p.b, "hello"), p.b.packet4(p.a, "hello yourself")
	p.a.send(x)
	p.b.wantReceived(x)
	p.b.send(y)
	p.a.wantReceived(y)
	p.lan.reset()
}

// want fails the test unless the datagrams sent since the last call were
// these, as in "a>b initiation, b>a response, a>b keepalive, a>b data 64".
func (p *pair) want(transcript string) {
	p.a.t.Helper()
	p.compare(p.transcript(), transcript)
}

// wantBeside is want for a datagram and the handshake it brought about, which
// other goroutines make: which of them goes first is not told.
func (p *pair) wantBeside(datagram, transcript string) {
	p.a.t.Helper()
	said := p.transcript()
	if i := slices.Index(said, datagram); i >= 0 {
		said = slices.Insert(slices.Delete(said, i, i+1), 0, datagram)
	}
	p.compare(said, datagram+", "+transcript)
}

// transcript is what was sent since it was last asked for.
func (p *pair) transcript() (said []string) {
	synctest.Wait()
	for _, d := range p.lan.reset() {
		said = append(said, p.describe(&d))
	}
	return said
}

func (p *pair) compare(said []string, transcript string) {
	p.a.t.Helper()
	wanted := strings.Split(transcript, ", ")
	if p.parallel {
		slices.Sort(said)
		slices.Sort(wanted)
	}
	if got, want := strings.Join(said, ", "), strings.Join(wanted, ", "); got != want {
		p.a.t.Fatalf("on the wire:\n  %s\nwanted:\n  %s", got, want)
	}
}

func (p *pair) describe(d *datagram) string {
	name := func(a netip.Addr) string {
		switch {
		case p.a.net.has(a):
			return "a"
		case p.b.net.has(a):
			return "b"
		}
		return a.String()
	}
	what := noise.Classify(d.data).String()
	if noise.Classify(d.data) == noise.TypeTransport {
		if what = fmt.Sprintf("data %d", len(d.data)); len(d.data) == noise.KeepaliveSize {
			what = "keepalive"
		}
	}
	return name(d.from.Addr()) + ">" + name(d.to.Addr()) + " " + what
}

// sleep lets time pass until nothing moves any more.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// modes are the two ways packets go.
var modes = map[string]Options{
	"inline":   {Workers: -1},
	"parallel": {Workers: 3, AlwaysParallel: true, Budget: MinBudget}, // which is to lose nothing
}

// inBubble runs f in every mode, in a bubble each.
func inBubble(t *testing.T, f func(t *testing.T, opts Options)) {
	t.Helper()
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, opts) })
		})
	}
}
