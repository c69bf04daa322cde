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
// source that alone would bring it about.
func (d *Device) admit(now clock.Time, h *hsMessage) bool {
	var cookie [noise.CookieReplySize]byte
	ok, reply := d.gate.admit(d, now, h, &cookie)
	if reply {
		d.sendTo(h.from.Endpoint(), cookie[:], 0)
	}
	return ok
}

// admit decides, and makes the cookie reply if one is due. It is sent without
// the lock.
func (g *gate) admit(d *Device, now clock.Time, h *hsMessage, cookie *[noise.CookieReplySize]byte) (ok, reply bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load.Note(now, len(d.handshakes)-int(d.crowd.waiting.Load()), cap(d.handshakes))
	if !g.load.Under(now) && !h.crowded || g.cookies == nil {
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

// The shares of the queue of handshake messages.
const (
	// sourceShare is how much one source may have waiting, half of what puts the device
	// under load: one that floods has to prove its address before others have to.
	sourceShare = handshakeQueue / 16
	// crowdShare is for all that have more than their share: the rest of the queue is for
	// the others.
	crowdShare = handshakeQueue / 2
	// crowdHold is how long a source that had more counts as one that floods, the same as for
	// the device (ratelimiter.Load).
	crowdHold = time.Second
	// sources is how many places there are for sources to be counted in. Two that share one, which
	// nobody can arrange, share the proof of their addresses.
	sources = 1024
)

// crowd counts what waits in the queue of handshake messages by source. The readers write
// it, and handshake workers; two or three atomics per message.
type crowd struct {
	seed    maphash.Seed
	waiting atomic.Int32 // of sources that flood
	sources [sources]source
}

type source struct {
	waiting atomic.Int32
	until   atomic.Int64 // it floods before this clock.Time
}

// of is where an address is counted: an IPv4 address, or the /64 of an IPv6 address.
func (c *crowd) of(a netip.Addr) *source {
	b := a.As16()
	if a.Is6() {
		clear(b[8:])
	}
	return &c.sources[maphash.Bytes(c.seed, b[:])%sources]
}

// enter counts a message that is about to be queued; false if it may not be.
func (c *crowd) enter(now clock.Time, h *hsMessage) bool {
	s := c.of(h.from.Remote.Addr())
	if s.waiting.Add(1) > sourceShare {
		s.until.Store(int64(now.Add(crowdHold)))
	}
	h.source, h.crowded = s, now < clock.Time(s.until.Load())
	if h.crowded && c.waiting.Add(1) > crowdShare {
		c.leave(h)
		return false
	}
	return true
}

// leave is when a worker takes a message, or when it finds no room.
func (c *crowd) leave(h *hsMessage) {
	if h.source == nil {
		return
	}
	h.source.waiting.Add(-1)
	if h.crowded {
		c.waiting.Add(-1)
	}
}
