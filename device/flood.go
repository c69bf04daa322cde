package device

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"culvert/conn"
	"culvert/internal/clock"
	"culvert/timers"
)

// Messages that bring nothing (duplicates, forged ones, of no session) look like packets, so they come through
// the packets' socket, and a flood of them takes its place in the buffer and its reader's time. While
// there is one, the peers at work keep that socket for themselves: the system is told the receiver
// indices of those that packets come from (conn.Preferring), and gives all others to a
// socket of their own, of which a share is read while other readers are behind. A peer there that something good
// comes from is with the others in the next tick of 67 ms. Who sends the flood has to know the
// index of a session at work to be in its way: see it on its path, or be that peer, and then it is that session which
// goes to the other socket.
//
// Nothing is noted before there is a flood; during one it costs a mutex for each group of packets.

const (
	// floodPerTick are so many useless messages in a tick that there is a flood: 15,000 a second, 2 % of a core.
	// Under a quarter of it is none.
	floodPerTick = 1024
	// floodCalm is for how many ticks, 10 s, there has to be none.
	floodCalm = 150
	// restPerTick is what is read in a tick of packets that are not preferred, while other readers are
	// behind: 31,000 a second.
	restPerTick = 2048
	// maxPreferred is how many peers are preferred. With three keys each they are within conn.MaxLabels.
	maxPreferred = 64
	// preferredIdle is after how many ticks without a packet, 1 s, a peer's place is another's.
	preferredIdle = 15
	// rivalLead is how many packets of a tick more than twice those of who has a place get it.
	rivalLead = 16
	// mostBad is how many useless messages come for each good one before a session is preferred no more.
	mostBad = 4
)

// FloodStats tells of floods of messages that bring nothing.
type FloodStats struct {
	On    bool   `json:"on"`    // there is one
	Times uint64 `json:"times"` // how many there were
	// Preferred is how many peers have a socket for themselves now, Beyond how often one had to
	// stay with the flood because there were too many.
	Preferred int    `json:"preferred_peers"`
	Beyond    uint64 `json:"beyond"`
}

// flood is what is known of one. Safe for concurrent use.
type flood struct {
	able   atomic.Bool   // the sockets can part packets from packets
	on     atomic.Bool   // there is a flood
	untold atomic.Bool   // the sockets were not told what is preferred: it is to be tried again
	wanted chan struct{} // capacity 1: the controller is to look
	times  atomic.Uint64 // how many there were
	beyond atomic.Uint64 // times a peer had no place

	mu      sync.Mutex
	tick    clock.Time // of the last look, in ticks
	useless uint64     // messages until then
	calm    clock.Time // ticks without a flood
	peers   [maxPreferred]atWork
	n       int    // of them
	rival   atWork // who sends most, about, of those that have no place
}

func (f *flood) init() { f.wanted = make(chan struct{}, 1) }

// look is called by a reader that has received something in a tick it had not yet been in. useless is how many
// messages were until now.
func (f *flood) look(tick clock.Time, useless uint64) {
	if !f.able.Load() || !f.mu.TryLock() {
		return // another reader does
	}
	defer f.mu.Unlock()
	ticks := tick - f.tick
	if ticks <= 0 {
		return
	}
	useless = max(useless, f.useless) // another reader may have counted later, and looked earlier
	rate := (useless - f.useless) / uint64(ticks)
	f.tick, f.useless = tick, useless
	if rate >= floodPerTick/4 {
		f.calm = 0
	} else {
		f.calm += ticks
	}
	switch on := f.on.Load(); {
	case on && f.calm >= floodCalm:
		f.end()
	case on:
		f.age()
	case rate >= floodPerTick:
		f.times.Add(1)
		f.on.Store(true)
	case !f.untold.Load():
		return
	}
	select {
	case f.wanted <- struct{}{}:
	default: // it has not looked yet
	}
}

// end forgets the peers. The mutex is held.
func (f *flood) end() {
	f.on.Store(false)
	clear(f.peers[:f.n])
	f.n, f.rival = 0, atWork{}
}

// stop is when there are no sockets any more, or others that know nothing yet.
func (f *flood) stop(able bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.able.Store(able)
	f.untold.Store(false)
	f.end()
}

// unopened is useless messages, one after the other, that name a session of a peer and never come to its receiver. One
// owner: a reader.
type unopened struct {
	peer *peer
	n    int
}

// add counts one of p.
func (u *unopened) add(d *Device, p *peer, now clock.Time) {
	if u.peer != p {
		u.note(d, now)
		u.peer = p
	}
	u.n++
}

// note has the flood know of them.
func (u *unopened) note(d *Device, now clock.Time) {
	if u.n > 0 {
		d.flood.note(u.peer, tickOf(now), 0, u.n)
		*u = unopened{}
	}
}

// stats is safe to call at any time.
func (f *flood) stats() FloodStats {
	return FloodStats{On: f.on.Load(), Times: f.times.Load(), Preferred: len(f.preferred(nil)), Beyond: f.beyond.Load()}
}

// useless is how many messages have brought nothing, though they look like packets.
func (d *Device) useless() (n uint64) {
	for _, r := range [...]Reason{DropUnknownIndex, DropKeyExpired, DropBadTag, DropReplay} {
		n += d.drops.load(r)
	}
	return n
}

// prefer has the sockets prefer what is preferred now.
func (c *controller) prefer() {
	s := c.d.sockets.Load()
	if s == nil {
		return
	}
	sockets, ok := (*s).(conn.Preferring)
	if !ok {
		return
	}
	c.tellOfFlood()
	var labels []conn.Label
	for _, p := range c.d.flood.preferred(nil) {
		for _, k := range p.keypairs() {
			if k != nil && c.now < k.rejectAt { // what comes with a dead one is none of their work
				var t conn.Label
				binary.LittleEndian.PutUint32(t[:], k.keys.LocalIndex)
				labels = append(labels, t)
			}
		}
	}
	slices.SortFunc(labels, func(a, b conn.Label) int { return slices.Compare(a[:], b[:]) })
	f := &c.d.flood
	if !f.untold.Swap(false) && slices.Equal(labels, c.labels) {
		return
	}
	if err := sockets.Prefer(labels); err != nil {
		f.untold.Store(true)
		c.d.log.Debug("a flood of packets cannot be parted from others", "error", err)
		return
	}
	c.labels = labels
}

// tellOfFlood logs that one has begun or is over: twice in ten seconds at most, whatever it does.
func (c *controller) tellOfFlood() {
	on := c.d.flood.on.Load()
	switch {
	case on == c.flooded:
	case on:
		c.d.log.Info("a flood of duplicate, forged or unknown messages: peers at work have a socket for themselves", "dropped", c.d.useless())
	default:
		c.d.log.Info("the flood is over", "dropped", c.d.useless())
	}
	c.flooded = on
}

// tickOf is the tick that now is in.
func tickOf(now clock.Time) clock.Time { return now / timers.Tick }
