package device

import (
	"runtime"
	"time"

	"culvert/internal/clock"
)

// moderation is what network cards call interrupt moderation. Waiting for the
// next packet costs a reader, and whoever wakes it, more than the packet itself.
// Where packets come in quick succession but one by one, a reader that pauses a
// little before it waits finds several at once: they share the wake-up, the
// system calls and, as one UDP GSO message, the way through the kernel.
//
// A pause must not slow down traffic that waits for its own answers. So its use
// is proved by measuring: pauses stay for as long as what is found after each is
// more than one packet, and as many come per second as did without pauses. What
// does not prove itself is tried again ever more rarely. One owner: its reader.
type moderation struct {
	clock   clock.Pauser // nil: there are no pauses
	pausing bool
	trial   bool
	begin   clock.Time    // of the phase
	length  time.Duration // of the phase
	wakes   int           // reads that waited, or would have but for a pause, in this phase
	packets int           // that they found, in this phase
	rate    float64       // packets per ns of the last phase without pauses
	rest    time.Duration // length of the next phase without pauses
	pauses  int
}

const (
	// pauseTime is what is asked for; Linux makes it 50 us more.
	pauseTime = 50 * time.Microsecond
	// quickWakes is how many wake-ups a second are worth moderating. Slower
	// traffic is never delayed.
	quickWakes = 8000
	// maxModerated is how many packets a wake-up that need no moderation.
	maxModerated = 16
	// moderateMeasure is the least time to measure over, and that of a trial;
	// moderateTerm is how long pauses are used until they must prove themselves
	// again, moderateRest the longest time until the next trial.
	moderateMeasure = 4 * time.Millisecond
	moderateTerm    = 128 * time.Millisecond
	moderateRest    = time.Second
	// yieldEvery is the number of pauses after which other goroutines get their turn.
	yieldEvery = 8
)

// shift lets another thread watch over what other goroutines wait for. The one
// that was woken for a reader did so until then, and nobody does while that reader
// goes on and on: what comes in the other direction would wait until it is done,
// or for 10 ms.
type shift struct{ due bool }

// note is called after each read that found something.
func (s *shift) note(waited bool) {
	if !waited && s.due {
		runtime.Gosched() // wakes one that is idle
	}
	s.due = waited
}

// newModeration makes a reader's. Pauses need a second processor: they keep one
// from running other goroutines.
func (d *Device) newModeration() moderation {
	p, ok := d.clock.(clock.Pauser)
	if !ok || runtime.GOMAXPROCS(0) < 2 {
		return moderation{}
	}
	return moderation{clock: p}
}

// note records that at now a read, after it waited or not, found n packets, and
// says whether to pause before the next.
func (m *moderation) note(now clock.Time, n int, waited bool) bool {
	if m.clock == nil {
		return false
	}
	if m.length == 0 {
		m.phase(now, false, moderateMeasure)
		m.rest = moderateMeasure
	}
	if waited || m.pausing {
		m.wakes++
	}
	m.packets += n
	took := now.Sub(m.begin)
	if took < m.length {
		return m.pausing
	}
	rate := float64(m.packets) / float64(took)
	switch {
	case took > 2*m.length: // there was a gap
		m.phase(now, false, moderateMeasure)
	case !m.pausing:
		m.rate = rate
		quick := float64(m.wakes)*float64(time.Second) >= quickWakes*float64(took)
		if quick && m.packets < maxModerated*m.wakes {
			m.phase(now, true, moderateMeasure)
			m.trial = true
		} else {
			m.phase(now, false, moderateMeasure)
		}
	case 2*m.packets < 3*m.wakes || m.packets > maxModerated*m.wakes || rate < 0.9*m.rate:
		m.rest = min(2*m.rest, moderateRest)
		m.phase(now, false, m.rest)
	case m.trial:
		m.rest = moderateMeasure
		m.phase(now, true, moderateTerm)
	default:
		m.phase(now, false, moderateMeasure)
	}
	return m.pausing
}

// phase begins one.
func (m *moderation) phase(now clock.Time, pausing bool, length time.Duration) {
	m.pausing, m.trial, m.begin, m.length, m.wakes, m.packets = pausing, false, now, length, 0, 0
}

// pause lets packets gather.
func (m *moderation) pause() {
	if m.pauses++; m.pauses%yieldEvery == 0 {
		runtime.Gosched()
	}
	m.clock.Pause(pauseTime)
}
