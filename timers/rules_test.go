package timers

import (
	"testing"
	"time"

	"culvert/internal/clock"
)

func TestConstants(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want time.Duration
	}{
		{"NewHandshakeTimeout", NewHandshakeTimeout, 15 * time.Second},
		{"RekeyOnReceiveAfter", RekeyOnReceiveAfter, 165 * time.Second},
		{"ZeroKeysAfter", ZeroKeysAfter, 540 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
	if RejectAfterMessages != uint64(0xffff_ffff_ffff_e03e) {
		t.Errorf("RejectAfterMessages is %#x", uint64(RejectAfterMessages))
	}
}

func TestRules(t *testing.T) {
	const at = Time(1e9)
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		got  Time
		want Time
	}{
		{"T1", RetransmitAt(at, 333*ms), at.Add(5333 * ms)},
		{"T2", KeepaliveAt(at), at.Add(10 * time.Second)},
		{"T3", NewHandshakeAt(at, 7*ms), at.Add(15007 * ms)},
		{"T4", ZeroKeysAt(at), at.Add(540 * time.Second)},
		{"T5", PersistentAt(at, 25*time.Second, 0, 0), at.Add(25 * time.Second)},
		{"T5 off", PersistentAt(at, 0, 255, 0), clock.Never},
		{"T1 unarmed", RetransmitAt(clock.Never, 333*ms), clock.Never},
		{"T2 unarmed", KeepaliveAt(clock.Never), clock.Never},
		{"T3 unarmed", NewHandshakeAt(clock.Never, ms), clock.Never},
		{"T4 unarmed", ZeroKeysAt(clock.Never), clock.Never},
		{"T5 unarmed", PersistentAt(clock.Never, time.Second, 0, 0), clock.Never},
		{"next initiation", MayInitiateAt(at), at.Add(5 * time.Second)},
		{"first initiation", MayInitiateAt(clock.Never), clock.Never},
		{"rekey", RekeyAt(at, 3*time.Second), at.Add(123 * time.Second)},
		{"rekey on receive", RekeyOnReceiveAt(at), at.Add(165 * time.Second)},
		{"reject", RejectAt(at), at.Add(180 * time.Second)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// A persistent keepalive is never early, and never late by more than a 32nd of the
// interval or a second.
func TestPersistentJitter(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		step     uint8
		want     time.Duration
	}{
		{time.Second, 0, 0},
		{time.Second, 128, time.Second / 64},
		{25 * time.Second, 128, 390625 * time.Microsecond},
		{25 * time.Second, 255, 778198242},
		{65535 * time.Second, 255, 996093750},
	} {
		const traffic = Time(time.Hour)
		if got := PersistentAt(traffic, c.interval, c.step, 0).Sub(traffic) - c.interval; got != c.want {
			t.Errorf("step %d of %v is %v, want %v", c.step, c.interval, got, c.want)
		}
	}
}

// With a slot it is at a multiple of it, still within the jitter; the latest that is before
// what was drawn, so that what is drawn still parts peers. A jitter shorter than the slot goes before.
func TestPersistentSlot(t *testing.T) {
	const slot = 500 * time.Millisecond
	for interval := time.Second; interval < 120*time.Second; interval += 7 * time.Second {
		most := min(interval/32, time.Second)
		seen := map[Time]bool{}
		for traffic := Time(1); traffic < Time(2*time.Second); traffic += Time(31 * time.Millisecond) {
			clear(seen)
			for step := range 256 {
				at, free := PersistentAt(traffic, interval, uint8(step), slot), PersistentAt(traffic, interval, uint8(step), 0)
				seen[at] = true
				switch late := at.Sub(traffic) - interval; {
				case late < 0 || late > most:
					t.Fatalf("step %d of %v: late by %v, at most %v is allowed", step, interval, late, most)
				case most < slot && at != free:
					t.Fatalf("step %d of %v: %v is not %v", step, interval, at, free)
				case most >= slot && at%Time(slot) != 0:
					t.Fatalf("step %d of %v: %v is no multiple of %v", step, interval, at, slot)
				case at > free && at.Sub(free) >= slot:
					t.Fatalf("step %d of %v: put off by %v", step, interval, at.Sub(free))
				}
			}
			if most >= slot && len(seen) > 2 {
				t.Fatalf("interval %v: %d slots", interval, len(seen))
			}
		}
	}
}

// A key that is renewed late has time for more than one lost initiation.
func TestRekeyJitterLeavesTime(t *testing.T) {
	latest := RekeyAfterTime + MaxRekeyJitter
	if latest+3*(RekeyTimeout+MaxJitter) > RekeyOnReceiveAfter {
		t.Errorf("a key is renewed as late as after %v", latest)
	}
}
