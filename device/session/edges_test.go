package session

import (
	"testing"
	"time"

	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// T1 is due, but a response went out meanwhile: as after any handshake
// message the next initiation waits 5 s.
func TestRetransmitWaitsForOwnResponse(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	b.initiated(1)
	b.accept(3*time.Second, 100)
	b.responded(2, 100)
	if out := b.advance(2*time.Second, Activity{}); out != (Actions{}) {
		t.Fatalf("2 s after the response: %+v", out)
	}
	if out := b.advance(3*time.Second, Activity{}); !out.Initiate || out.Attempt != 2 {
		t.Fatalf("5 s after the response: %+v", out)
	}
}

// T5 counts from handshake messages too, whether or not the data path notes them.
func TestPersistentCountsFromHandshake(t *testing.T) {
	b := newBare(t)
	b.after(0, func(out *Actions) { b.m.SetPersistentKeepalive(b.now, 6*time.Second, true, out) })
	b.initiated(1)
	b.advance(5*time.Second, Activity{}) // T1
	b.initiated(2)
	if at, _ := b.m.Deadline(); at != epoch.Add(10*time.Second) { // T1, not T5 at 6 s
		t.Fatalf("deadline at %v", at.Sub(epoch))
	}
	b.response(2) // at 5 s
	for _, want := range []time.Duration{11, 15, 17} {
		at, _ := b.m.Deadline()
		if at != epoch.Add(want*time.Second) {
			t.Fatalf("deadline at %v, want %v s", at.Sub(epoch), int(want))
		}
		out := b.advance(at.Sub(b.now), Activity{})
		if out.Keepalive != (want != 15) { // 15: the look
			t.Fatalf("at %v s: %+v", int(want), out)
		}
	}
}

// Giving up cancels T2, also one that is due at the same time.
func TestGiveUpCancelsPassiveKeepalive(t *testing.T) {
	b := newBare(t)
	b.session(1)
	b.need(6*time.Second, ConfigChanged)
	b.initiated(2)
	for range 19 {
		b.advance(5*time.Second, Activity{})
		b.initiated(3)
	}
	out := b.advance(5*time.Second, Activity{UnackedSince: b.now.Add(-5 * time.Second)})
	if !out.DropStaged || !out.ClearUnacked || out.Keepalive {
		t.Errorf("%+v", out)
	}
}

// The last look is 10 s after the youngest key has died: a batch under way
// then may have noted something. After that there is only T4.
func TestLastLook(t *testing.T) {
	b := newBare(t)
	b.session(1)
	var looks []time.Duration
	for len(looks) < 21 {
		at, ok := b.m.Deadline()
		if !ok {
			break
		}
		b.advance(at.Sub(b.now), Activity{})
		looks = append(looks, at.Sub(epoch)/time.Second)
	}
	if n := len(looks); n != 20 || looks[17] != 180 || looks[18] != 190 || looks[19] != 540 {
		t.Errorf("looks at %d", looks)
	}
}

// Looks are at multiples of a slot, and a little early, unless too many are; and so is T5,
// within its jitter, of those that were not one too many.
func TestSlots(t *testing.T) {
	const slot = Time(500 * time.Millisecond)
	b := newBare(t)
	*b.m.rand = Rand{Jitter: func() time.Duration { return timers.MaxJitter / 2 }, Slot: time.Duration(slot)}
	next := func() time.Duration {
		at, _ := b.m.Deadline()
		return at.Sub(b.now)
	}
	b.now = 1000 * slot
	b.session(1)
	for _, c := range []struct {
		late    time.Duration // the look before it
		crowded bool
		want    time.Duration
	}{
		{123 * time.Millisecond, false, 9877 * time.Millisecond},
		{0, false, 10 * time.Second},
		{0, true, 10 * time.Second},
		{400 * time.Millisecond, true, 10 * time.Second},
		{0, false, 9600 * time.Millisecond},
	} {
		b.m.rand.Crowded = c.crowded
		if b.advance(next()+c.late, Activity{}); next() != c.want {
			t.Fatalf("%+v: the next look is in %v", c, next())
		}
	}
	b.m.keys.look, b.m.keys.sendUntil, b.m.zero = clock.Never, clock.Never, clock.Never
	b.m.rand.Jitter = func() time.Duration { return timers.MaxJitter * 255 / 256 }
	const interval, most = 25 * time.Second, 25 * time.Second / 32
	b.after(100*time.Millisecond, func(out *Actions) { b.m.SetPersistentKeepalive(b.now, interval, true, out) })
	for i, crowded := range []bool{false, true, false, false} { // who was one too many stays alone while the jitter is large
		if on := b.now.Add(next())%slot == 0; on != (i < 2) || next() < interval || next() > interval+most {
			t.Fatalf("%d: due in %v, at a slot: %v", i, next(), on)
		}
		b.m.rand.Crowded = crowded
		b.advance(next(), Activity{})
	}
	b.m.rand.Jitter = func() time.Duration { return 0 }
	b.advance(next(), Activity{})
	if on := b.now.Add(next())%slot == 0; !on {
		t.Error("it never comes back to the others")
	}
}

// What is found only by that last look is still done.
func TestLastLookSeesT2(t *testing.T) {
	b := newBare(t)
	b.session(1)
	for b.now < epoch.Add(180*time.Second) {
		b.advance(10*time.Second, Activity{})
	}
	out := b.advance(10*time.Second, Activity{UnackedSince: epoch.Add(179 * time.Second)})
	if !out.Initiate || out.InitiateReason != PassiveKeepalive || !out.ClearUnacked {
		t.Errorf("%+v", out)
	}
}

// A session came of the older initiation while a newer one was built.
func TestResponseWhileBuilding(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	b.initiated(1)
	b.need(6*time.Second, DataWaits)
	b.response(1)
	out := b.initiated(2)
	b.forgotten(out, 2)
	if out.SendHandshake {
		t.Error("it is sent")
	}
}

// A request that was put off is served by the other side's session as well.
func TestConfirmedServesWhatWaits(t *testing.T) {
	b := newBare(t)
	b.accept(0, 100)
	b.responded(1, 100)
	b.need(time.Second, DataWaits)
	b.confirmed(1)
	if out := b.advance(10*time.Second, Activity{}); out.Initiate {
		t.Errorf("%+v", out)
	}
}

// Handshake messages cancel T2 and T3 as any other.
func TestHandshakeMessagesCancel(t *testing.T) {
	b := newBare(t)
	b.session(1)
	b.need(6*time.Second, ConfigChanged)
	if out := b.initiated(2); !out.ClearUnacked || out.ClearUnanswered {
		t.Errorf("initiation sent: %+v", out)
	}
	if out := b.response(2); !out.ClearUnanswered || out.ClearUnacked {
		t.Errorf("response received: %+v", out)
	}
	if out := b.accept(6*time.Second, 100); !out.ClearUnanswered || out.ClearUnacked {
		t.Errorf("initiation received: %+v", out)
	}
	if out := b.responded(3, 100); !out.ClearUnacked || out.ClearUnanswered {
		t.Errorf("response sent: %+v", out)
	}
}

// A key asks for its renewal once; then T1 sees to it.
func TestRenewalOncePerKey(t *testing.T) {
	b := newBare(t)
	b.session(1)
	b.need(120*time.Second, RekeySending)
	b.initiated(2)
	if out := b.need(6*time.Second, RekeySending); out != (Actions{}) {
		t.Errorf("%+v", out)
	}
}

// The initiation being built will go to the new endpoint anyway.
func TestEndpointChangedWhileBuilding(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	if out := b.after(0, func(out *Actions) { b.m.EndpointChanged(b.now, out) }); out != (Actions{}) {
		t.Errorf("%+v", out)
	}
}

func TestClearKeepsTheRateOfInitiations(t *testing.T) {
	b := newBare(t)
	b.accept(0, 100)
	b.after(0, b.m.Clear)
	in := noise.OpenedInitiation{RemoteIndex: 101, Timestamp: stampOf(b.now.Add(time.Second))}
	for _, c := range []struct {
		after time.Duration
		want  error
	}{{19 * time.Millisecond, ErrTooSoon}, {time.Millisecond, nil}} {
		b.now = b.now.Add(c.after)
		if err := b.m.Initiation(b.now, &in, &Actions{}); err != c.want {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
}

// The old private key's handshakes are gone, both ways.
func TestExpireRetiresHandshakes(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	b.initiated(1)
	b.accept(0, 100)
	b.forgotten(b.after(0, func(out *Actions) { b.m.Expire(b.now, out) }), 1)
	b.forgotten(b.responded(2, 100), 2)
}

// T5's jitter is drawn when it fires, not with traffic, and makes it late, never early.
func TestPersistentJitterDrawnWhenFired(t *testing.T) {
	const interval, most = 25 * time.Second, 778198242 * time.Nanosecond
	b := newBare(t)
	b.session(1)
	b.m.zero, b.m.keys.look, b.m.keys.sendUntil = clock.Never, clock.Never, Time(1<<62)
	jitter := timers.MaxJitter
	b.m.rand = &Rand{Jitter: func() time.Duration { return jitter }}
	due := func(want time.Duration) time.Duration {
		t.Helper()
		at, _ := b.m.Deadline()
		if got := at.Sub(b.now); got != want {
			t.Fatalf("due in %v, want %v", got, want)
		}
		return want
	}
	b.after(0, func(out *Actions) { b.m.SetPersistentKeepalive(b.now, interval, true, out) })
	jitter = 0
	at := due(interval + most)
	if out := b.advance(at, Activity{LastTraffic: b.now.Add(at - time.Second)}); out.Keepalive {
		t.Fatal("a keepalive a second after traffic")
	}
	if out := b.advance(due(interval+most-time.Second), Activity{}); !out.Keepalive {
		t.Fatal("no keepalive")
	}
	due(interval)
}

// What T4 wipes takes the notes of T2 and T3 with it: the next session owes nothing
// for this one.
func TestZeroedKeysClearNotes(t *testing.T) {
	b := newBare(t)
	b.session(1)
	noted := Activity{UnansweredSince: b.now, UnackedSince: b.now, MoreUnacked: true}
	out := b.advance(time.Hour, noted) // a suspend
	if out.Note != ZeroedKeys || !out.ClearUnacked || !out.ClearUnanswered || out.Flush || out.ForgetSource {
		t.Errorf("%+v", out)
	}
}

// A new endpoint that comes while the last initiation of a series is built gets a
// whole series: that one goes to it, and is its first.
func TestEndpointChangedInLastRetry(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	for i := range uint32(19) {
		b.initiated(i + 1)
		b.advance(5*time.Second, Activity{})
	}
	if out := b.after(0, func(out *Actions) { b.m.EndpointChanged(b.now, out) }); out != (Actions{}) {
		t.Errorf("one is being built: %+v", out)
	}
	b.initiated(20)
	if out := b.advance(5*time.Second, Activity{}); !out.Initiate || out.Attempt != 2 {
		t.Errorf("after the first initiation to the new endpoint: %+v", out)
	}
}
