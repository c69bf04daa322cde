package session

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"culvert/noise"
	"culvert/noise/noisetest"
	"culvert/timers"
)

// The simulator: two machines, a and b, each with a data path as simple as can
// be, on a virtual wire with loss, delay and reordering, under a virtual clock.
// What happens is written to a log in words. The laws of a Machine are
// checked at every call.

// epoch is 0 s of the simulated time.
const epoch = Time(time.Hour)

type sim struct {
	t      testing.TB
	now    Time
	rand   *rand.Rand
	real   bool // handshakes and data with real keys
	bytes  io.Reader
	queue  events
	seq    int
	nodes  [2]*node
	log    []entry
	wallOf time.Duration // how far the wall clock is off
	built  time.Duration // how long a handshake message takes to build
}

// entry is a line of the log.
type entry struct {
	at   Time
	text string
}

func newSim(t testing.TB, seed uint64, real bool) *sim {
	s := &sim{t: t, now: epoch, rand: rand.New(rand.NewPCG(seed, 2)), real: real, bytes: noisetest.Rand(seed)}
	jitter := &Rand{Jitter: func() time.Duration { return time.Duration(s.rand.Int64N(int64(timers.MaxJitter) + 1)) }}
	for i, name := range []string{"a", "b"} {
		s.nodes[i] = &node{
			s: s, name: name, m: New(jitter), up: true,
			keys: map[uint32]*simKey{}, pending: map[uint32]*simPending{}, known: map[uint32]bool{},
		}
	}
	a, b := s.nodes[0], s.nodes[1]
	a.other, b.other = b, a
	if real {
		p := noisetest.NewPair(t, s.bytes)
		a.id, b.id, a.remote, b.remote = p.A, p.B, p.ToB, p.ToA
	}
	return s
}

func (s *sim) logf(format string, args ...any) {
	s.log = append(s.log, entry{s.now, fmt.Sprintf(format, args...)})
}

func (s *sim) fatalf(format string, args ...any) {
	s.t.Helper()
	for _, e := range s.log {
		s.t.Logf("%v %s", e.at.Sub(epoch), e.text)
	}
	s.t.Fatalf("at %v: %s", s.now.Sub(epoch), fmt.Sprintf(format, args...))
}

// later does f after d.
func (s *sim) later(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.queue, happening{s.now.Add(d), s.seq, f})
}

// next is when something happens next; false: never again.
func (s *sim) next() (at Time, ok bool) {
	if len(s.queue) > 0 {
		at = s.queue[0].at
	}
	for _, n := range s.nodes {
		if d, ok := n.m.Deadline(); ok {
			at = at.Min(d)
		}
	}
	return at, !at.IsZero()
}

// step does what happens next, if that is not after limit; else goes to limit.
func (s *sim) step(limit Time) bool {
	at, ok := s.next()
	if !ok || at > limit {
		s.now = max(s.now, limit)
		return false
	}
	s.now = max(s.now, at)
	if len(s.queue) > 0 && s.queue[0].at <= s.now {
		heap.Pop(&s.queue).(happening).do()
		return true
	}
	for _, n := range s.nodes {
		if d, ok := n.m.Deadline(); ok && d <= s.now {
			n.advance()
			return true
		}
	}
	panic("nothing happens")
}

// run goes to at.
func (s *sim) run(at Time) {
	for s.step(at) {
	}
}

// suspend jumps ahead; nothing happens meanwhile, and all that was due does
// at the end.
func (s *sim) suspend(d time.Duration) { s.now = s.now.Add(d) }

func (s *sim) wall() noise.Timestamp {
	return noise.NewTimestamp(time.Unix(1_700_000_000, 0).Add(s.now.Sub(epoch) + s.wallOf))
}

// happening is something that will happen.
type happening struct {
	at  Time
	seq int
	do  func()
}

type events []happening

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(happening)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// wire is one direction.
type wire struct {
	lost  bool
	loss  int // percent
	delay time.Duration
	held  []func() // if holding
	hold  bool
}

// message is what goes over the wire. In a simulation without real keys the
// last fields stand for its bytes.
type message struct {
	kind     noise.MessageType
	name     string // of the initiation, and of what comes of it
	text     string // for the log
	bytes    []byte
	counter  uint64
	data     bool
	sender   uint32
	receiver uint32
	stamp    noise.Timestamp
}

// transmit puts m on the wire from n, and says so.
func (n *node) transmit(m *message, text string) {
	s, w := n.s, &n.out
	text = fmt.Sprintf("%s->%s %s", n.name, n.other.name, text)
	if w.lost || s.rand.IntN(100) < w.loss {
		s.logf("%s (lost)", text)
		return
	}
	s.logf("%s", text)
	arrive := func() { n.other.receive(m) }
	if w.hold {
		w.held = append(w.held, arrive)
		return
	}
	s.later(w.delay, arrive)
}

// release lets what was held on the wire go, in the order of turn.
func (w *wire) release(s *sim, reversed bool) {
	held := w.held
	w.held, w.hold = nil, false
	for i := range held {
		if reversed {
			i = len(held) - 1 - i
		}
		s.later(w.delay, held[i])
	}
}
