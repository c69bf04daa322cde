package device

// load is the one place where a reader decides whether it does the work itself
// (lowest latency, no wake-ups) or hands it to the workers, which pays only
// when another core is free and the reader cannot keep up. It cannot keep up
// when several drains in a row end because they are full and not because
// nothing is left. Hysteresis: as many drains to the end switch back.
type load struct {
	workers bool // there are workers
	always  bool // for tests: hand over whatever the load
	streak  int
	on      bool
}

// fullDrains in a row switch to the workers.
const fullDrains = 4

// note records how a drain ended.
func (l *load) note(drained bool) {
	if drained {
		l.streak = max(l.streak-1, 0)
	} else {
		l.streak = min(l.streak+1, fullDrains)
	}
	if l.streak == fullDrains {
		l.on = true
	} else if l.streak == 0 {
		l.on = false
	}
}

// parallel says whether to hand the batch in hand to the workers.
func (l *load) parallel() bool { return l.workers && (l.on || l.always) }
