package device

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"culvert/internal/clock"
	"culvert/noise"
	"culvert/ratelimiter"
	"culvert/timers"
)

// gate is what handshake messages have to pass before they cost a DH. Its lock
// is held for microseconds, by handshake workers only.
type gate struct {
	mu      sync.Mutex
	load    ratelimiter.Load
	limit   *ratelimiter.Limiter
	cookies *noise.CookieChecker // nil without a private key
}

// admit asks for a proof of address and a token, but only under load, or from a
// source that alone would bring it about. reply: it has written a cookie reply, to be sent.
func (g *gate) admit(d *Device, now clock.Time, h *hsMessage, cookie *[noise.CookieReplySize]byte) (ok, reply bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load.Note(now, len(d.handshakes)-int(d.crowd.waiting.Load()), cap(d.handshakes))
	loaded := g.load.Under(now)
	if d.crowd.loaded.Load() != loaded {
		d.crowd.loaded.Store(loaded)
	}
	if !loaded && !h.crowded || g.cookies == nil {
		return true, false
	}
	msg := h.buf[:h.n]
	if g.cookies.CheckMAC2(now, d.rand, msg, h.from.Remote) {
		if g.limit.Allow(now, h.from.Remote.Addr()) {
			return true, false
		}
		d.dropped(now, DropRateLimited, 1, nil)
		return false, false
	}
	d.dropped(now, DropCookieNeeded, 1, nil)
	return false, g.cookies.CreateReply(now, d.rand, msg, h.from.Remote, cookie) == nil
}

// setCookies replaces the checker, nil for none, and wipes the old one's secret.
func (g *gate) setCookies(c *noise.CookieChecker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cookies != nil {
		g.cookies.Wipe()
	}
	g.cookies = c
}

// What one source may have of the handshake workers.
const (
	// sourceShare is how many messages of one source may wait, half of what puts the device
	// under load: one that floods has to prove its address before others have to.
	sourceShare = handshakeQueue / 16
	// sourceHold is how long a source that had more waiting counts as one that floods, the same as for
	// the device (ratelimiter.Load).
	sourceHold = time.Second
	// sourcesPerWorker is how many places there are for sources to be counted in. Who shares one, which
	// nobody can arrange, shares the above; nobody else does, and all of them together are
	// 46,000 messages a second.
	sourcesPerWorker = 1024
)

// perTick is how many messages of a source that floods, or under load of any, are looked at in a
// tick of 67 ms, so that a flood costs so much and no more: those without a mac2 (so also cookie replies), for which a
// cookie reply is all that can be had, and those with one, which may be right.
var perTick = [...]int{withoutCookie: 1, withCookie: 2}

const (
	withoutCookie = iota
	withCookie
)

// cookieOf tells which of both msg is.
func cookieOf(msg []byte) int {
	if noise.HasCookie(msg) {
		return withCookie
	}
	return withoutCookie
}

// crowd counts handshake messages by source. The readers write it, and handshake workers, with
// some atomics for each message.
type crowd struct {
	seed    maphash.Seed
	sources []source
	loaded  atomic.Bool  // the device is under load
	waiting atomic.Int32 // messages of sources that flood
}

type source struct {
	waiting atomic.Int32    // messages in the queue
	until   atomic.Int64    // it floods before this clock.Time
	tick    atomic.Int64    // of the clock, in which
	taken   [2]atomic.Int32 // so many were looked at, without and with a cookie
}

func (c *crowd) init(workers int) {
	c.seed, c.sources = maphash.MakeSeed(), make([]source, sourcesPerWorker*workers)
}

// of is where an address is counted: an IPv4 address, or the /64 of an IPv6 address.
func (c *crowd) of(a netip.Addr) *source {
	b := a.As16()
	if a.Is6() {
		clear(b[8:])
	}
	return &c.sources[maphash.Bytes(c.seed, b[:])%uint64(len(c.sources))]
}

// enter counts a message of s that is about to be queued; not ok: it may not be. crowded: s floods,
// and has to prove its address.
func (c *crowd) enter(now clock.Time, s *source, cookie int) (crowded, ok bool) {
	if s.waiting.Add(1) > sourceShare {
		s.until.Store(int64(now.Add(sourceHold)))
	}
	if crowded = s.floods(now); crowded {
		c.waiting.Add(1)
	}
	if (crowded || c.loaded.Load()) && !s.take(now, cookie) {
		c.leave(s, crowded)
		return crowded, false
	}
	return crowded, true
}

// leave is when a worker takes a message, or when it finds no room.
func (c *crowd) leave(s *source, crowded bool) {
	s.waiting.Add(-1)
	if crowded {
		c.waiting.Add(-1)
	}
}

// spent reports that enter would refuse a message whatever it is: its mac1 need not be checked.
func (c *crowd) spent(now clock.Time, s *source, cookie int) bool {
	return (c.loaded.Load() || s.floods(now)) && s.tick.Load() == int64(now/timers.Tick) && s.taken[cookie].Load() >= int32(perTick[cookie])
}

func (s *source) floods(now clock.Time) bool { return now < clock.Time(s.until.Load()) }

// take takes a place in the tick. Readers that find a new tick at the same time may let a few more in.
func (s *source) take(now clock.Time, cookie int) bool {
	if tick := int64(now / timers.Tick); s.tick.Swap(tick) != tick {
		s.taken[withoutCookie].Store(0)
		s.taken[withCookie].Store(0)
	}
	return s.taken[cookie].Add(1) <= int32(perTick[cookie])
}
