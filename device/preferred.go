package device

import "culvert/internal/clock"

// Which peers are at work while there is a flood (flood.go): those that something good comes from, and not too much
// else. Their places are bounded: one is another's when nothing came from its peer for a second, or much more
// comes from one that has none.

// atWork is a peer that packets came from during a flood. The counts halve in a tick.
type atWork struct {
	peer      *peer
	good, bad uint32
	last      clock.Time // tick in which something good came
}

// note counts what came from p in a tick.
func (f *flood) note(p *peer, tick clock.Time, good, bad int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on.Load() {
		return
	}
	idlest := 0
	for i := range f.peers[:f.n] {
		w := &f.peers[i]
		if w.peer == p {
			w.add(tick, good, bad)
			return
		}
		if w.last < f.peers[idlest].last {
			idlest = i
		}
	}
	if good == 0 {
		return
	}
	at := f.n
	if at < maxPreferred {
		f.n++
	} else if at = idlest; tick-f.peers[at].last < preferredIdle {
		f.beyond.Add(1)
		f.contend(p, tick, good, bad)
		return
	}
	f.peers[at] = atWork{peer: p}
	f.peers[at].add(tick, good, bad)
	if f.rival.peer == p {
		f.rival = atWork{} // it has a place
	}
}

func (w *atWork) add(tick clock.Time, good, bad int) {
	w.good += uint32(good)
	w.bad += uint32(bad)
	if good > 0 {
		w.last = tick
	}
}

// age gives the rival the place of who sends least, if that is much less, and halves what was counted. The mutex
// is held.
func (f *flood) age() {
	least := 0
	for i := range f.peers[:f.n] {
		if f.peers[i].good < f.peers[least].good {
			least = i
		}
	}
	if r := &f.rival; r.peer != nil && uint64(r.good) > 2*uint64(f.peers[least].good)+rivalLead {
		f.peers[least], *r = *r, atWork{}
	}
	for i := range f.peers[:f.n] {
		f.peers[i].halve()
	}
	f.rival.halve()
}

func (w *atWork) halve() {
	w.good /= 2
	w.bad /= 2
}

// contend counts what came from a peer that has no place. Of all those the rival is who sends more than half, if there
// is one (Boyer and Moore's vote). The mutex is held.
func (f *flood) contend(p *peer, tick clock.Time, good, bad int) {
	r := &f.rival
	switch {
	case r.peer == p:
	case r.good > uint32(good):
		r.good -= uint32(good)
		return
	default:
		*r = atWork{peer: p}
	}
	r.add(tick, good, bad)
}

// preferred appends the peers that are.
func (f *flood) preferred(to []*peer) []*peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.peers[:f.n] {
		if w := &f.peers[i]; w.bad/mostBad <= w.good {
			to = append(to, w.peer)
		}
	}
	return to
}
