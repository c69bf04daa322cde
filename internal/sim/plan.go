package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// kind is what happens in an event.
type kind int

const (
	evFlow      kind = iota // n packets from a to b, every d
	evSpoof                 // n packets from a to b with a source b does not allow a
	evNowhere               // a packet of a for which there is no peer
	evLink                  // the path between a and b gets quality n
	evCut                   // nothing passes between a and b
	evIsolate               // nothing passes to or from a
	evMend                  // a's paths are mended
	evRebind                // a's NAT forgets, or a gets other addresses
	evSleep                 // a sleeps for d
	evWall                  // a's wall clock jumps by d
	evDown                  // a's link goes down
	evUp                    // and up
	evRemove                // a removes its peer b
	evAdd                   // and adds it again
	evMove                  // a gives an allowed IP of its peer b to its peer n
	evKey                   // a changes its private key; peers follow after d
	evNoKey                 // a has no private key, for d
	evPort                  // a changes its port; peers follow after d
	evPSK                   // a and b change their preshared key, b after d
	evKeepalive             // a gives its peer b a persistent keepalive of n seconds
	evSame                  // a is told what it has already
	evBadSet                // a set of a is refused
	evRefuse                // a's sends fail for d
	evTunFails              // writes to a's TUN fail for d
	evSlow                  // a's system takes one packet at a time, for d
	evMTU                   // a's MTU becomes n
	evReplay                // n datagrams that reached a come again, from where they came
	evForge                 // n datagrams come to a from a stranger: damaged ones, junk, replays
	evGet                   // a is asked for its configuration
	evHeal                  // all is well again
	kinds
)

var kindNames = [kinds]string{"flow", "spoof", "nowhere", "link", "cut", "isolate", "mend", "rebind", "sleep", "wall", "down", "up",
	"remove", "add", "move", "key", "nokey", "port", "psk", "keepalive", "same", "badset", "refuse", "tunfails", "slow", "mtu", "replay", "forge", "get", "heal"}

func (k kind) String() string { return kindNames[k] }

// event is something the world does to a device; all that is random about it is drawn
// before, so that it is the same whichever other events there are.
type event struct {
	at      time.Duration // since the beginning
	kind    kind
	a, b, n int
	d       time.Duration
	fixed   bool // part of every run, also of a shrunk one
}

func (e event) String() string {
	return fmt.Sprintf("%v a=%d b=%d n=%d d=%v", e.kind, e.a, e.b, e.n, e.d)
}

// plan is all that a seed decides.
type plan struct {
	seed   uint64
	top    *topology
	events []event
	begin  time.Duration // of troubles
	heal   time.Duration // when all is well again
	calm   time.Duration // from when on every packet has to arrive
	end    time.Duration
}

// inFlight is longer than any datagram is on its way.
const inFlight = 5 * time.Second

// recovery is how long after all is well a tunnel may take to come back: T3 and its
// jitter (15.4 s), then an initiation that has to wait for the one before (5.4 s),
// which may have been put off by a response (5.4 s); and not before all endpoints are
// right (inFlight).
const recovery = inFlight + 30*time.Second

// drawPlan makes the plan of a seed.
func drawPlan(seed uint64, nodes int) *plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &plan{seed: seed, top: drawTopology(r, nodes)}
	if r.IntN(4) == 0 {
		p.drawLonely(r)
	}
	p.heal = p.begin + between(r, time.Minute, 5*time.Minute)
	p.calm = p.heal + recovery
	p.end = p.calm + pick(r, 150*time.Second, 200*time.Second, 400*time.Second)
	p.drawTraffic(r)
	for range 4 + r.IntN(12+4*len(p.top.nodes)) {
		p.drawTrouble(r)
	}
	p.events = append(p.events, event{at: p.heal, kind: evHeal, fixed: true})
	p.drawCalm(r)
	return p
}

func (p *plan) add(e event) { p.events = append(p.events, e) }

// drawLonely draws a beginning in which a node has something to send, reaches nobody and
// after a while has to give up.
func (p *plan) drawLonely(r *rand.Rand) {
	p.begin = 210 * time.Second
	a := r.IntN(len(p.top.nodes))
	p.add(event{kind: evIsolate, a: a})
	for _, e := range p.top.edges {
		if e.a == a || e.b == a {
			p.add(event{at: between(r, 0, 8*time.Second), kind: evFlow, a: e.a, b: e.b, n: 1})
			p.add(event{at: between(r, 0, 8*time.Second), kind: evFlow, a: e.b, b: e.a, n: 1})
		}
	}
	p.add(event{at: p.begin, kind: evMend, a: a})
}

// drawTraffic draws packets for the time of trouble.
func (p *plan) drawTraffic(r *rand.Rand) {
	for _, e := range p.top.edges {
		for range 2 + r.IntN(6) {
			f := event{at: between(r, p.begin, p.heal), kind: evFlow, a: e.a, b: e.b, n: 1 + r.IntN(40),
				d: pick(r, 0, 3*time.Millisecond, 50*time.Millisecond, 700*time.Millisecond, 4*time.Second, 11*time.Second)}
			if r.IntN(2) == 0 {
				f.a, f.b = f.b, f.a
			}
			f.n = min(f.n, 1+int((p.heal-f.at)/max(1, f.d)))
			p.add(f)
		}
	}
}

// drawCalm draws packets for after: for a while every edge has some in both
// directions, then few, many or none.
func (p *plan) drawCalm(r *rand.Rand) {
	for _, e := range p.top.edges {
		for _, d := range [][2]int{{e.a, e.b}, {e.b, e.a}} {
			p.add(event{at: p.heal + between(r, 100*time.Millisecond, time.Second), kind: evFlow, a: d[0], b: d[1], n: int(recovery / time.Second), d: time.Second, fixed: true})
			every := pick(r, 0, 400*time.Millisecond, time.Second, 3*time.Second, 8*time.Second, 13*time.Second, 45*time.Second)
			if every > 0 {
				p.add(event{at: p.calm + between(r, 0, 5*time.Second), kind: evFlow, a: d[0], b: d[1], n: int((p.end - p.calm - 12*time.Second) / every), d: every, fixed: true})
			}
		}
	}
}

// drawTrouble draws one thing that goes wrong or is changed, and often its end.
func (p *plan) drawTrouble(r *rand.Rand) {
	e := event{at: between(r, p.begin, p.heal), kind: kind(int(evSpoof) + r.IntN(int(evHeal-evSpoof)))}
	edge := pick(r, p.top.edges...)
	e.a, e.b = edge.a, edge.b
	if r.IntN(2) == 0 {
		e.a, e.b = e.b, e.a
	}
	e.n, e.d = r.IntN(1<<16), between(r, time.Millisecond, 90*time.Second)
	until := event{at: e.at + e.d, a: e.a, b: e.b}
	switch e.kind {
	case evSpoof, evReplay, evForge:
		e.n = 1 + r.IntN(12)
	case evCut, evIsolate:
		until.kind = evMend
		p.add(until)
	case evRebind:
		if p.top.nodes[e.a].server {
			e.a, e.b = e.b, e.a
		}
		if p.top.nodes[e.a].server {
			return
		}
	case evSleep:
		e.d = pick(r, 8*time.Second, 70*time.Second, 170*time.Second, 200*time.Second, time.Hour)
	case evWall:
		e.d = pick(r, -time.Hour, -time.Second, time.Second, 24*time.Hour)
	case evDown:
		until.kind = evUp
		until.at = e.at + between(r, time.Millisecond, 30*time.Second)
		p.add(until)
	case evRemove:
		until.kind = evAdd
		p.add(until)
	case evKey, evNoKey, evPort, evPSK:
		e.d = between(r, time.Millisecond, 20*time.Second)
	case evKeepalive:
		e.n = pick(r, 0, 1, 7, 25, 60, 90)
	case evMTU:
		e.n = pick(r, 1280, 1420, 1500, 9000)
	case evMend, evUp, evAdd:
		return
	}
	p.add(e)
}
