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
		{"T5", PersistentAt(at, 25*time.Second), at.Add(25 * time.Second)},
		{"T5 off", PersistentAt(at, 0), clock.Never},
		{"T1 unarmed", RetransmitAt(clock.Never, 333*ms), clock.Never},
		{"T2 unarmed", KeepaliveAt(clock.Never), clock.Never},
		{"T3 unarmed", NewHandshakeAt(clock.Never, ms), clock.Never},
		{"T4 unarmed", ZeroKeysAt(clock.Never), clock.Never},
		{"T5 unarmed", PersistentAt(clock.Never, time.Second), clock.Never},
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
		{0, 255, 0},
		{-time.Second, 255, 0},
		{time.Second, 0, 0},
		{time.Second, 128, time.Second / 64},
		{25 * time.Second, 128, 390625 * time.Microsecond},
		{25 * time.Second, 255, 778198242},
		{65535 * time.Second, 255, 996093750},
	} {
		if got := PersistentJitter(c.interval, c.step); got != c.want {
			t.Errorf("step %d of %v is %v, want %v", c.step, c.interval, got, c.want)
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
