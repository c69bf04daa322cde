package sim

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"testing/synctest"
	"time"

	"culvert/conn/conntest"
)

// world is one run: nodes, what is between them, and the driver, which is the only
// goroutine that touches any of this. See doc.go for how it goes in steps.
type world struct {
	plan   *plan
	start  time.Time
	net    *conntest.Network
	nodes  []*node
	byHost map[*conntest.Host]*node
	paths  map[[2]int]*path
	agenda agenda
	order  uint64
	poke   chan struct{} // something was sent
	serial uint64        // of datagrams

	flows   []*flow
	classes map[class]*flow
	halves  map[halfKey]*half

	lines   []string
	failure string
	stats   Stats
	calm    bool   // all is well
	owed    []owed // packets that have to arrive, in the order they were sent
	over    bool   // devices are being closed
	faults  faults
}

// faults make devices look worse than they are: for tests of the rules.
type faults struct {
	sends  func(all []*sent) []*sent        // what was sent at an instant
	writes func(n *node, b []byte) [][]byte // what came out of a TUN
}

func newWorld(p *plan, f faults) *world {
	w := &world{plan: p, faults: f, start: time.Now(), net: conntest.NewNetwork(p.seed), byHost: map[*conntest.Host]*node{}, paths: map[[2]int]*path{},
		poke: make(chan struct{}, 1), classes: map[class]*flow{}, halves: map[halfKey]*half{}, stats: newStats()}
	w.net.SetGRO(p.top.gro)
	w.net.SetQueue(p.top.queue)
	w.net.Hold(func() {
		select {
		case w.poke <- struct{}{}:
		default:
		}
	})
	for i, n := range p.top.nodes {
		w.nodes = append(w.nodes, newNode(w, i, n))
	}
	for _, e := range p.top.edges {
		w.nodes[e.a].knows(w.nodes[e.b], e)
		w.nodes[e.b].knows(w.nodes[e.a], e)
	}
	for _, e := range p.events {
		w.later(e.at, item{event: &e})
	}
	return w
}

// run plays the plan to its end, or until a rule is broken.
func (w *world) run() {
	defer w.close()
	synctest.Wait()
	for _, n := range w.nodes {
		n.restore()
		w.settle()
	}
	for w.failure == "" && w.now() < w.plan.end {
		next := w.plan.end
		if len(w.agenda) > 0 {
			next = min(next, w.agenda[0].at)
		}
		w.sleep(next)
		w.settle()
		w.step()
		w.checkTimers()
	}
}

// now is the time since the beginning.
func (w *world) now() time.Duration { return time.Since(w.start) }

// sleep lets time pass until then, or until a device sends something.
func (w *world) sleep(until time.Duration) {
	if until <= w.now() {
		return
	}
	timer := time.NewTimer(until - w.now())
	defer timer.Stop()
	select {
	case <-w.poke:
	case <-timer.C:
	}
}

// settle waits until no device has anything more to do at this instant, and looks at
// what they did.
func (w *world) settle() {
	synctest.Wait()
	w.collect()
}

// step does what is due: events one by one, then what arrives at the nodes, of which
// each gets one thing at a time.
func (w *world) step() {
	for len(w.agenda) > 0 && w.agenda[0].at <= w.now() && w.failure == "" {
		switch it := heap.Pop(&w.agenda).(item); {
		case it.event != nil:
			w.apply(it.event)
			w.settle()
		case it.then != nil:
			it.then()
			w.settle()
		case it.flow != nil:
			it.flow.due()
		default:
			w.enqueue(it.arrival)
		}
	}
	for w.failure == "" {
		busy := false
		for _, n := range w.nodes {
			busy = n.takeGroup() || busy
		}
		if !busy {
			return
		}
		w.settle()
		for _, n := range w.nodes {
			n.endGroup()
		}
	}
}

// close closes everything, and looks for what was not given back. That no goroutine
// is left is seen by synctest.
func (w *world) close() {
	synctest.Wait()
	w.collect()
	w.over = true
	for _, n := range w.nodes {
		n.uapi.close()
		n.dev.Close()
	}
	synctest.Wait()
	w.collect()
	for _, n := range w.nodes {
		if w.failure == "" {
			n.checkEnd()
		}
	}
	w.net.Close()
	w.stats.Virtual += w.now()
}

// fail notes the first rule that was broken.
func (w *world) fail(n *node, format string, args ...any) {
	if w.failure != "" || w.over && n == nil {
		return
	}
	who := ""
	if n != nil {
		who = n.name + ": "
	}
	w.failure = who + fmt.Sprintf(format, args...)
	w.say(n, "FAILED: %s", w.failure)
}

// say writes a line of the transcript.
func (w *world) say(n *node, format string, args ...any) {
	who := "-"
	if n != nil {
		who = n.name
	}
	w.lines = append(w.lines, fmt.Sprintf("%11.6fs %-3s %s", w.now().Seconds(), who, fmt.Sprintf(format, args...)))
}

// later puts something on the agenda.
func (w *world) later(at time.Duration, it item) {
	w.order++
	it.at, it.order = at, w.order
	heap.Push(&w.agenda, it)
}

// node gives the node with an outer address, also one behind a NAT that has it.
func (w *world) owner(a netip.Addr) *node {
	for _, n := range w.nodes {
		if n.nat != nil && n.nat.outer == a || n.nat == nil && slices.Contains(n.addrs, a) {
			return n
		}
	}
	return nil
}

// item is something to be done at a time; one of the last four is set.
type item struct {
	at      time.Duration
	order   uint64
	event   *event
	then    func()
	flow    *flow
	arrival arrival
}

// agenda is a heap of items; equal times keep their order.
type agenda []item

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at != a[j].at {
		return a[i].at < a[j].at
	}
	return a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(item)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}
