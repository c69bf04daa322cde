package device

import (
	"sync/atomic"
	"time"

	"culvert/internal/clock"
)

// load is the one place where a reader decides whether it does the work itself
// (lowest latency, no wake-ups) or hands it to the workers, which pays only
// when another core is free and the reader cannot keep up. It cannot keep up
// when several times in a row a drain ends because it is full and not because
// nothing is left, or a backlog remains, or a receive found much at once (behind).
// Hysteresis: as many that end
// because nothing is left switch back.
type load struct {
	workers bool // there are workers
	always  bool // for tests: hand over whatever the load
	aside   bool // the reader's work is nobody's measure, and is its own: workers are for others
	streak  int
	on      bool
	counts  *readerCounts // of the device
}

// readerCounts are how many readers there are, how many of them (but those aside) are behind, and
// how many hand over to the workers now.
type readerCounts struct {
	reading, behind, handing atomic.Int32
	busy                     atomic.Int64 // clock.Time when one that is behind found something last
}

// anyBehind reports whether a reader is behind at now. Which one is not any more is told by what it finds, and one that
// finds nothing waits: it does not count for longer than behindHold.
func (c *readerCounts) anyBehind(now clock.Time) bool {
	return c.behind.Load() > 0 && now.Sub(clock.Time(c.busy.Load())) < behindHold
}

// newLoad is that of a reader which is about to run.
func (d *Device) newLoad() load {
	d.readerCounts.reading.Add(1)
	return load{workers: d.opts.Workers > 0, always: d.opts.AlwaysParallel, counts: &d.readerCounts}
}

// end is called when the reader ends.
func (l *load) end() {
	l.set(false)
	l.counts.reading.Add(-1)
}

// behindHold is how long a reader that is behind, and has found nothing since, counts as such.
const behindHold = time.Second

// fullDrains in a row switch to the workers.
const fullDrains = 4

// note records how a drain ended at now.
func (l *load) note(now clock.Time, drained bool) {
	if drained {
		l.streak = max(l.streak-1, 0)
	} else {
		l.streak = min(l.streak+1, fullDrains)
	}
	if l.streak == fullDrains {
		l.set(true)
	} else if l.streak == 0 {
		l.set(false)
	}
	if l.on && !l.aside {
		l.counts.busy.Store(int64(now))
	}
}

func (l *load) set(on bool) {
	if l.on == on {
		return
	}
	l.on = on
	change := int32(-1)
	if on {
		change = 1
	}
	if l.aside {
		return
	}
	l.counts.behind.Add(change)
	if !l.workers {
		return
	}
	l.counts.handing.Add(change)
}

// parallel says whether to hand the batch in hand to the workers.
func (l *load) parallel() bool { return l.workers && !l.aside && (l.on || l.always) }
