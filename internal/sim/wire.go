package sim

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"culvert/conn/conntest"
	"culvert/internal/clock"
	"culvert/noise"
)

// quality is what a path does to datagrams.
type quality struct {
	delay, jitter                 time.Duration
	loss, dup, corrupt, reordered float64
}

// qualities are what event evLink chooses from.
var qualities = []quality{
	{delay: 20 * time.Millisecond},
	{delay: 5 * time.Millisecond, loss: .1},
	{delay: 100 * time.Millisecond, loss: .4},
	{delay: 10 * time.Millisecond, jitter: 60 * time.Millisecond},
	{delay: 30 * time.Millisecond, dup: .3, reordered: .2},
	{delay: 15 * time.Millisecond, corrupt: .2},
	{delay: 900 * time.Millisecond, jitter: 3 * time.Second, loss: .1, dup: .1, corrupt: .05},
}

// path is one direction between two nodes. Its randomness is its own, so that what
// happens elsewhere changes nothing here.
type path struct {
	quality
	rand *rand.Rand
	cut  bool
}

func (w *world) path(from, to *node) *path {
	k := [2]int{from.id, to.id}
	if w.paths[k] == nil {
		p := &path{rand: rand.New(rand.NewPCG(w.plan.seed, uint64(from.id+1)<<32|uint64(to.id)))}
		p.mend()
		w.paths[k] = p
	}
	return w.paths[k]
}

// mend makes a path one that delivers everything, in order.
func (p *path) mend() {
	p.cut, p.quality = false, quality{delay: time.Duration(pick(p.rand, 1, 8, 20, 40, 110, 250)) * time.Millisecond}
}

func (p *path) chance(rate float64) bool { return rate > 0 && p.rand.Float64() < rate }

// sent is a datagram as it left a device.
type sent struct {
	conntest.Datagram
	serial   uint64
	from     *node
	kind     noise.MessageType
	peer     *peer      // it was meant for; nil for a cookie reply
	sess     *session   // of a transport message or a response
	reached  bool       // it has arrived once, undamaged
	answered clock.Time // when a response to this initiation was sent, by its sender's clock; 0: never
}

// arrival is a datagram, or a copy of it, on its way.
type arrival struct {
	*sent            // what it was; nil: a stranger made it
	data      []byte // nil: as it was sent
	corrupted bool   // so that it must not be taken for authentic
	src, dst  netip.AddrPort
	direct    *node // where it arrives, past any NAT; nil: where dst is
	forged    bool  // src is not whence it came
}

// grain is that of arrivals: what is sent within it arrives together.
const grain = time.Millisecond

// collect takes what was sent since the last call, in an order that does not depend
// on the scheduler, looks whether it was right to send it, and decides what becomes of
// it; then what came out of the TUNs.
func (w *world) collect() {
	var all []*sent
	for _, d := range w.net.Take() {
		all = append(all, &sent{Datagram: d, from: w.byHost[d.Host], kind: noise.Classify(d.Data)})
	}
	// Stable: what cannot be told apart from outside stays in the order of sending, which
	// within a flow is that of its packets.
	slices.SortStableFunc(all, func(a, b *sent) int {
		return cmp.Or(cmp.Compare(a.from.id, b.from.id), a.To.Compare(b.To), cmp.Compare(a.kind, b.kind), cmp.Compare(len(a.Data), len(b.Data)))
	})
	if w.faults.sends != nil && !w.over {
		all = w.faults.sends(all)
	}
	for _, s := range all {
		w.serial++
		s.serial = w.serial
		w.observe(s)
		w.fate(s)
	}
	for _, n := range w.nodes {
		if !n.slow {
			n.drain(1 << 30)
		}
	}
}

// fate decides what becomes of a datagram.
func (w *world) fate(s *sent) {
	w.stats.Datagrams++
	what := s.describe()
	to := w.owner(s.To.Addr())
	switch {
	case s.Err != nil:
		w.say(s.from, "> %v %s: refused", s.To, what)
		return
	case to == nil:
		w.say(s.from, "> %v %s: nobody there", s.To, what)
		return
	}
	a := arrival{sent: s, src: s.From, dst: s.To}
	if s.from.nat != nil {
		a.src = s.from.nat.leave(s.From, s.To)
	}
	p := w.path(s.from, to)
	var fates []string
	switch {
	case p.cut:
		fates = append(fates, "cut")
	case p.chance(p.loss):
		fates = append(fates, "lost")
	default:
		if p.chance(p.dup) {
			fates = append(fates, "twice")
			w.later(w.arrivalTime(p), item{arrival: a})
		}
		if p.chance(p.corrupt) {
			fates = append(fates, "damaged")
			a.damage(p.rand)
		}
		w.later(w.arrivalTime(p), item{arrival: a})
	}
	w.say(s.from, "> %s %s %s", to.name, what, strings.Join(fates, " "))
}

// arrivalTime draws when a datagram that leaves now arrives.
func (w *world) arrivalTime(p *path) time.Duration {
	d := p.delay
	if p.jitter > 0 {
		d += time.Duration(p.rand.Int64N(int64(p.jitter)))
	}
	if p.chance(p.reordered) {
		d += 50 * time.Millisecond
	}
	return (w.now() + d).Truncate(grain) + grain
}

// damage flips a bit of the copy. The mac2 of a handshake message authenticates
// nothing while the receiver is not under load, so it is left alone.
func (a *arrival) damage(r *rand.Rand) {
	n := len(a.Data)
	if a.kind == noise.TypeInitiation || a.kind == noise.TypeResponse {
		n -= 16
	}
	a.data = slices.Clone(a.Data)
	a.data[r.IntN(n)] ^= 1 << r.IntN(8)
	a.corrupted = true
}

// bytes are what arrives.
func (a *arrival) bytes() []byte {
	if a.data != nil {
		return a.data
	}
	return slices.Clone(a.Data)
}

// describe is the datagram in words.
func (s *sent) describe() string {
	if s.kind == noise.TypeTransport {
		if len(s.Data) == noise.KeepaliveSize {
			return "keepalive"
		}
		return "data " + itoa(len(s.Data))
	}
	return s.kind.String()
}
