package conn

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
)

// routes tells whether sticky sources are still good. A watcher goroutine
// advances the generation when the kernel announces a change of links,
// addresses, routes or rules; an Endpoint not looked at in this generation is
// looked at by the next Send that uses its source.
//
// A source is good while the kernel would send from it, and out of the
// interface it was learned on: when its cached route is void the kernel's
// WireGuard drops the source if the address is gone or the route's device is
// another one.
type routes struct {
	gen      atomic.Uint32
	mark     atomic.Uint32
	watching atomic.Bool
	counters *counters
	notify   func() // hears of every change, on any goroutine

	watch *routeWatch
	mu    sync.Mutex  // of what follows
	query *routeQuery // nil: no permission, no netlink, or no descriptors
	port  uint16      // of the sockets, for rules that look at it
	// verdicts remember the last answers, so that an endpoint which is made
	// anew from every message (asymmetric routes: source learned, lost,
	// learned) does not cost a round trip each time.
	verdicts [verdictSlots]verdict
	budget   checkBudget // for endpoints known before a change
	fresh    checkBudget // for new ones
}

const verdictSlots = 256 // a power of two

type verdict struct {
	remote netip.AddrPort
	local  netip.Addr
	index  uint32
	gen    uint32 // 0: empty
	good   bool
}

// generations numbers the states of routing tables in all sockets of the
// process: an Endpoint checked by one is not taken for checked by another.
var generations atomic.Uint32

// nextGeneration is never 0, the generation of what was never looked at.
func nextGeneration() uint32 {
	for {
		if g := generations.Add(1); g != 0 {
			return g
		}
	}
}

func watchRoutes(mark uint32, port uint16, c *counters, notify func(), log *slog.Logger) *routes {
	r := &routes{counters: c, port: port, notify: notify}
	r.gen.Store(nextGeneration())
	r.mark.Store(mark)
	conn, err := r.dial()
	if err != nil {
		log.Warn("route changes are not watched; it is tried again", "error", err)
	}
	r.watch = startRouteWatch(r, conn, r.dial)
	return r
}

// dial gives a connection to watch with, and sees to it that routes can be asked
// for. It is in the namespace of its thread.
func (r *routes) dial() (*netlink.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.query == nil {
		var err error
		if r.query, err = newRouteQuery(); err != nil {
			return nil, err
		}
	}
	return dialRouteWatch()
}

func (r *routes) generation() uint32 { return r.gen.Load() }

// changed makes every source be looked at again.
func (r *routes) changed() {
	r.gen.Store(nextGeneration())
	r.notify()
}

func (r *routes) setMark(mark uint32) {
	r.mark.Store(mark)
	r.changed()
}

// good reports whether e's source is still to be used. Nearly always it costs
// two loads.
func (r *routes) good(s *linuxSocket, e *Endpoint) bool {
	gen := r.gen.Load()
	return e.gen.Load() == gen || r.check(s, e, gen)
}

// check asks the kernel, one round trip.
func (r *routes) check(s *linuxSocket, e *Endpoint, gen uint32) bool {
	scope := uint32(0)
	if zone := e.Remote.Addr().Zone(); zone != "" {
		scope = s.zones.lookup(s, zone, gen)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.query == nil {
		e.gen.Store(gen) // nobody to ask, so do not come back
		return true
	}
	v := &r.verdicts[verdictSlot(e)]
	if v.gen != gen || v.remote != e.Remote || v.local != e.Local || v.index != e.IfIndex {
		budget, most := &r.budget, checksPerSecond
		if e.gen.Load() == 0 {
			budget, most = &r.fresh, freshPerSecond
		}
		if !budget.take(time.Now(), most) {
			r.counters.routeDeferred.Add(1)
			return true
		}
		r.counters.routeChecks.Add(1)
		good := r.query.good(routeRequest{
			remote: e.Remote, local: e.Local, port: r.port, mark: r.mark.Load(),
			link: sourceLink(e, scope), learnedOn: e.IfIndex,
		})
		*v = verdict{remote: e.Remote, local: e.Local, index: e.IfIndex, gen: gen, good: good}
	}
	if v.good {
		e.gen.Store(gen)
	}
	return v.good
}

// verdictSlot spreads endpoints by the bytes of remote address and port. Who
// picks addresses that share a slot gains no more than a look-up each.
func verdictSlot(e *Endpoint) int {
	h := uint32(e.Remote.Port())
	for _, b := range e.Remote.Addr().As16() {
		h = h*31 + uint32(b)
	}
	return int(h % verdictSlots)
}

// close ends the watcher and returns when it has ended. Later calls of good
// find every source good.
func (r *routes) close() {
	if r.watch != nil {
		r.watch.close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.query != nil {
		r.query.close()
		r.query = nil
	}
}

// checkBudget bounds route look-ups, in windows of a second: with more endpoints than
// that, or routes that change all the time, the rest keep their source until their
// turn comes.
type checkBudget struct {
	since time.Time
	used  int
}

const (
	// checksPerSecond: at 10 to 16 us each (BenchmarkRouteCheck) this is less than a
	// tenth of one core, and a change takes effect within 1 s for as many active
	// endpoints.
	checksPerSecond = 5_000
	// freshPerSecond is for endpoints that have just been learned: what came from there
	// came to this source a moment ago. Where thousands of peers come back at once a
	// look-up would be a tenth of what each costs.
	freshPerSecond = 500
)

func (b *checkBudget) take(now time.Time, most int) bool {
	if now.Sub(b.since) >= time.Second || now.Before(b.since) {
		*b = checkBudget{since: now}
	}
	b.used++
	return b.used <= most
}
