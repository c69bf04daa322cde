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
		{"reject", RejectAt(at), at.Add(180 * time.Second)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}
