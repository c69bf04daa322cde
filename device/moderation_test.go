package device

import (
	"testing"
	"time"

	"culvert/internal/clock"
)

// fakePause is a clock for the moderation of a simulated reader.
type fakePause struct{ now clock.Time }

func (p *fakePause) Pause(d time.Duration) { p.now = p.now.Add(d + 50*time.Microsecond) }

// simulate runs a reader for a second: a read costs it 10 us and a packet 1 us.
// It begins with some packets there, and next tells when another comes after
// packet i was dealt with. It returns how many reads and packets there were.
func simulate(m *moderation, outstanding int, next func(i int, done clock.Time) clock.Time) (reads, packets int) {
	p := &fakePause{now: 1}
	if m != nil {
		m.clock = p
	}
	queue := make([]clock.Time, outstanding)
	for end := clock.Time(time.Second); p.now < end; reads++ {
		waited := queue[0] > p.now
		p.now = max(p.now, queue[0]).Add(10 * time.Microsecond)
		at, n := p.now, 0
		for queue[0] <= p.now && n < maxDrain {
			p.now = p.now.Add(time.Microsecond)
			queue = append(queue[1:], next(packets+n, p.now))
			n++
		}
		packets += n
		if m != nil && m.note(at, n, waited) && n < maxDrain {
			m.pause()
		}
	}
	return reads, packets
}

// paced is traffic that comes every so often, whatever becomes of it.
func paced(every time.Duration) func(int, clock.Time) clock.Time {
	return func(i int, _ clock.Time) clock.Time { return clock.Time(i+1) * clock.Time(every) }
}

// Quick packets that come whatever happens share their reads.
func TestModerationGathers(t *testing.T) {
	reads, packets := simulate(new(moderation), 1, paced(50*time.Microsecond))
	if packets < 19_990 || reads > packets*6/10 {
		t.Errorf("%d reads for %d packets", reads, packets)
	}
}

// What comes slowly is never delayed.
func TestModerationLeavesSlowTrafficAlone(t *testing.T) {
	var m moderation
	if simulate(&m, 1, paced(200*time.Microsecond)); m.pauses != 0 {
		t.Errorf("%d pauses", m.pauses)
	}
}

// Traffic that waits for its own answers loses little, though several packets
// are found after each pause.
func TestModerationLeavesAnswersAlone(t *testing.T) {
	answer := func(_ int, done clock.Time) clock.Time { return done.Add(60 * time.Microsecond) }
	for outstanding := range 9 {
		var m moderation
		_, packets := simulate(&m, outstanding+1, answer)
		_, without := simulate(nil, outstanding+1, answer)
		if m.pauses == 0 || packets < without*9/10 {
			t.Errorf("%d outstanding: %d packets with %d pauses, %d without any", outstanding+1, packets, m.pauses, without)
		}
	}
}

// What fills its reads anyway needs no pauses, and ends them.
func TestModerationEndsUnderLoad(t *testing.T) {
	var m moderation
	before := 0
	simulate(&m, 1, func(i int, done clock.Time) clock.Time {
		if i < 10_000 {
			before = m.pauses
			return paced(50*time.Microsecond)(i, done)
		}
		return done // there is always one more
	})
	if before == 0 || m.pausing {
		t.Errorf("%d pauses before the flood; still pausing: %v", before, m.pausing)
	}
}
