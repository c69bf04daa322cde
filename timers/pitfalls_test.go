package timers

import "testing"

// However long the machine slept, and with an entry in every slot, Expire goes
// round once: 73 years are 2^23 revolutions, which would not end in the time
// that a test has.
func TestWheelGoesRoundOnce(t *testing.T) {
	p := newPair(t, Tick, slotCount)
	for i := range slotCount - 1 {
		p.arm(i, 1<<62+Time(i)*Tick)
	}
	p.arm(slotCount-1, 5*Tick)
	p.want(1<<61, slotCount-1)
}
