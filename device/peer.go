package device

import (
	"sync/atomic"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/device/routes"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// A peer is data: while it is idle it has no goroutine, channel, runtime timer
// or packet memory.
type peer struct {
	public config.PublicKey // its identity; immutable

	// Snapshots and notes the pipes read and write without a lock.
	endpoint  atomic.Pointer[conn.Endpoint] // nil: not known
	sendKey   atomic.Pointer[keypair]       // nil: none usable; see promote
	remote    atomic.Pointer[remote]        // for handshake workers, who hold it; nil: neither preshared key nor static-static secret yet
	rx, tx    atomic.Uint64                 // bytes, as wg(8) shows them
	handshake atomic.Int64                  // last handshake, wall clock, ns since 1970; 0: never
	activity  activity
	asked     atomic.Bool // a request for keys is on its way to the controller
	removed   atomic.Bool // set by the controller before it drops what is staged
	loopSaid  atomic.Bool // a routing loop was logged

	out   sequence[*outBatch]
	in    sequence[*inGroup]
	stage stage

	// The rest belongs to the controller.
	machine   session.Machine
	timer     timers.Entry[peer]
	secrets   *secrets // nil: there are none
	jar       noise.CookieJar
	prefixes  routes.List
	keepalive uint16 // seconds
	waits     waits  // for a worker to build its initiation
	epoch     uint32 // grows when sessions are cleared: what was begun before is void
	seq       uint64 // order of insertion
}

// secrets are what a peer with a session, or with a handshake under way, has. They are
// the controller's.
type secrets struct {
	keys    [3]*keypair // those whose index is ours, in no order
	sending *keypair    // the send key as the session machine has it
	waiting *pending    // our handshake under way
}

// keypairs are those whose index is ours; some may be nil.
func (p *peer) keypairs() []*keypair {
	if p.secrets == nil {
		return nil
	}
	return p.secrets.keys[:]
}

// needSecrets makes room for them.
func (p *peer) needSecrets() *secrets {
	if p.secrets == nil {
		p.secrets = new(secrets)
	}
	return p.secrets
}

// dropSecrets lets go of their memory, and that of the queues, when there are none any
// more.
func (p *peer) dropSecrets() {
	if p.secrets != nil && *p.secrets == (secrets{}) {
		p.secrets = nil
		p.out.trim()
		p.in.trim()
	}
}

// activity is what the data path notes for the timers: two of the five are
// nothing but these.
type activity struct {
	unansweredSince atomic.Int64 // clock.Time data was first sent with nothing received since; 0: none
	unackedSince    atomic.Int64 // clock.Time data was first received with nothing sent since; 0: none
	moreUnacked     atomic.Bool  // and more came after that
	lastTraffic     atomic.Int64 // clock.Time of the last authenticated send or receive
}

// sent notes a batch sent; data if it was more than keepalives and handshakes.
// In steady state it costs three loads and a store per batch.
func (a *activity) sent(now clock.Time, data bool) {
	if a.unackedSince.Load() != 0 {
		a.unackedSince.Store(0)
	}
	if data && a.unansweredSince.Load() == 0 {
		a.unansweredSince.Store(int64(now))
	}
	a.lastTraffic.Store(int64(now))
}

// received notes a batch received with n data packets in it.
func (a *activity) received(now clock.Time, n int) {
	if a.unansweredSince.Load() != 0 {
		a.unansweredSince.Store(0)
	}
	if n > 0 && a.unackedSince.Load() == 0 {
		a.unackedSince.Store(int64(now))
		n--
	}
	if n > 0 && !a.moreUnacked.Load() {
		a.moreUnacked.Store(true)
	}
	a.lastTraffic.Store(int64(now))
}

// snapshot is what the session machine gets to see.
func (a *activity) snapshot() session.Activity {
	return session.Activity{
		UnansweredSince: clock.Time(a.unansweredSince.Load()),
		UnackedSince:    clock.Time(a.unackedSince.Load()),
		MoreUnacked:     a.moreUnacked.Load(),
		LastTraffic:     clock.Time(a.lastTraffic.Load()),
	}
}

// lastHandshake is what wg(8) shows.
func (p *peer) lastHandshake() time.Time {
	if ns := p.handshake.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// learn makes m's sender the peer's endpoint. An unchanged one costs a compare.
func (p *peer) learn(m *conn.Message) {
	if !m.From(p.endpoint.Load()) {
		p.endpoint.Store(m.Endpoint())
	}
}

// promote makes k, on which the other side has just sent for the first time, the
// send key before what it sent is delivered, so that the answer does not go out
// on a key the other side may have lost. It is the one write of sendKey that is
// not the controller's, which follows when it hears that k is confirmed; a key
// that was barred meanwhile is taken back, and the controller's own is put in
// its place when somebody misses it (controller.republish).
func (p *peer) promote(k *keypair) {
	p.sendKey.Store(k)
	if k.barred.Load() {
		p.sendKey.CompareAndSwap(k, nil)
	}
}

// forgetSource drops the sticky source of e, unless the endpoint has changed
// meanwhile.
func (p *peer) forgetSource(e *conn.Endpoint) {
	if e != nil && e.Local.IsValid() {
		p.endpoint.CompareAndSwap(e, e.WithoutSource())
	}
}

// key finds one of the peer's keypairs by our index; nil if it is gone.
func (p *peer) key(local uint32) *keypair {
	for _, k := range p.keypairs() {
		if k != nil && k.keys.LocalIndex == local {
			return k
		}
	}
	return nil
}
