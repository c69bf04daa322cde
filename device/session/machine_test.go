package session

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// bare drives one machine by hand: no other side, no jitter.
type bare struct {
	t   *testing.T
	m   Machine
	now Time
	out Actions
}

func newBare(t *testing.T) *bare {
	return &bare{t: t, m: New(&Rand{Jitter: func() time.Duration { return 0 }}), now: epoch}
}

// after goes on by d and makes a call.
func (b *bare) after(d time.Duration, f func(out *Actions)) Actions {
	b.t.Helper()
	b.now = b.now.Add(d)
	b.out = Actions{}
	f(&b.out)
	return b.out
}

func (b *bare) need(d time.Duration, why Reason) Actions {
	b.t.Helper()
	return b.after(d, func(out *Actions) { b.m.NeedKeys(b.now, why, out) })
}

func (b *bare) initiated(local uint32) Actions {
	b.t.Helper()
	return b.after(0, func(out *Actions) { b.m.Initiated(b.now, local, out) })
}

func (b *bare) response(local uint32) Actions {
	b.t.Helper()
	return b.after(0, func(out *Actions) {
		kp := &noise.Keypair{LocalIndex: local, Initiator: true}
		if err := b.m.Response(b.now, local, kp, out); err != nil {
			b.t.Fatal(err)
		}
	})
}

// accept takes an initiation from index remote, stamped by the time.
func (b *bare) accept(d time.Duration, remote uint32) Actions {
	b.t.Helper()
	return b.after(d, func(out *Actions) {
		in := noise.OpenedInitiation{RemoteIndex: remote, Timestamp: stampOf(b.now)}
		if err := b.m.Initiation(b.now, &in, out); err != nil {
			b.t.Fatal(err)
		}
	})
}

func (b *bare) responded(local, remote uint32) Actions {
	b.t.Helper()
	return b.after(0, func(out *Actions) {
		b.m.Responded(b.now, &noise.Keypair{LocalIndex: local, RemoteIndex: remote}, out)
	})
}

func (b *bare) confirmed(local uint32) Actions {
	b.t.Helper()
	return b.after(0, func(out *Actions) { b.m.Confirmed(b.now, local, out) })
}

func (b *bare) advance(d time.Duration, a Activity) Actions {
	b.t.Helper()
	return b.after(d, func(out *Actions) { b.m.Advance(b.now, a, out) })
}

// session makes one as the initiator.
func (b *bare) session(local uint32) {
	b.t.Helper()
	b.need(0, ConfigChanged)
	b.initiated(local)
	b.response(local)
}

// forgotten fails unless just these indices are in Forget.
func (b *bare) forgotten(out Actions, want ...uint32) {
	b.t.Helper()
	if out.ForgetN != len(want) {
		b.t.Fatalf("forgets %v, want %v", out.Forget[:out.ForgetN], want)
	}
	for i, w := range want {
		if out.Forget[i] != w {
			b.t.Fatalf("forgets %v, want %v", out.Forget[:out.ForgetN], want)
		}
	}
}

func stampOf(now Time) noise.Timestamp {
	return noise.NewTimestamp(time.Unix(1_700_000_000, int64(now)))
}

func TestMachineIsSmall(t *testing.T) {
	t.Logf("Machine %d bytes, key slots %d, Actions %d", unsafe.Sizeof(Machine{}), unsafe.Sizeof(keys{}), unsafe.Sizeof(Actions{}))
	if n := unsafe.Sizeof(Machine{}); n > 136 {
		t.Errorf("a Machine has %d bytes, want at most 136", n)
	}
	if n := unsafe.Sizeof(keys{}); n > 136 {
		t.Errorf("key slots have %d bytes, want at most 136", n)
	}
}

// What is no longer wanted when it has been built is forgotten and not sent.
func TestResultsThatCameTooLate(t *testing.T) {
	b := newBare(t)
	if out := b.need(0, DataWaits); !out.Initiate || out.Attempt != 1 {
		t.Fatalf("no initiation: %+v", out)
	}
	b.after(0, b.m.Clear)
	out := b.initiated(7)
	b.forgotten(out, 7)
	if out.SendHandshake {
		t.Error("an initiation is sent after Clear")
	}
	if at, ok := b.m.Deadline(); ok {
		t.Errorf("deadline %v after Clear", at)
	}

	b.accept(time.Second, 100)
	b.after(0, b.m.Clear)
	out = b.responded(8, 100)
	b.forgotten(out, 8)
	if out.SendHandshake || out.Install != nil {
		t.Error("a response is sent after Clear")
	}
}

// Two initiations are accepted before the first is answered: only the answer
// to the last counts.
func TestAnswersOutOfOrder(t *testing.T) {
	b := newBare(t)
	b.accept(time.Second, 100)
	b.accept(time.Second, 101)
	b.forgotten(b.responded(1, 100), 1)
	if out := b.responded(2, 101); out.Install == nil || !out.SendHandshake {
		t.Fatalf("the last one is not answered: %+v", out)
	}
	b.forgotten(b.responded(3, 101), 3)
}

func TestForgetHoldsAll(t *testing.T) {
	full := func() *bare {
		b := newBare(t)
		b.session(1)
		b.need(6*time.Second, ConfigChanged)
		b.initiated(2)
		b.response(2) // current 2, previous 1
		b.accept(6*time.Second, 100)
		b.forgotten(b.responded(3, 100)) // next 3, previous still 1
		b.forgotten(b.confirmed(3), 1)   // current 3, previous 2
		b.need(6*time.Second, ConfigChanged)
		b.initiated(4) // waits for its response
		return b
	}
	b := full()
	b.forgotten(b.after(0, b.m.Clear), 4, 3, 2)
	if !b.out.SetSendKey || b.out.SendKey != nil || !b.out.DropStaged || b.out.DropStagedReason != Cleared {
		t.Errorf("Clear: %+v", b.out)
	}
	// A handshake and all three slots: next may come after previous only by
	// Response, so put the state in by hand.
	b = full()
	b.m.keys.next = slot{kp: &noise.Keypair{LocalIndex: 9}, birth: b.now}
	out := b.advance(time.Hour, Activity{})
	b.forgotten(out, 4, 3, 2, 9)
}

// The build that failed counts as an initiation that was lost.
func TestInitiationFailed(t *testing.T) {
	b := newBare(t)
	fail := func(out *Actions) { b.m.InitiationFailed(b.now, out) }
	b.after(0, fail) // spurious
	b.need(0, DataWaits)
	b.after(0, fail)
	if out := b.need(time.Second, DataWaits); out != (Actions{}) {
		t.Errorf("within 5 s: %+v", out)
	}
	for attempt := 2; attempt <= 20; attempt++ {
		out := b.advance(5*time.Second, Activity{})
		if !out.Initiate || out.Attempt != attempt || out.InitiateReason != Retransmit || !out.ForgetSource {
			t.Fatalf("attempt %d: %+v", attempt, out)
		}
		b.after(0, fail)
	}
	out := b.advance(5*time.Second, Activity{})
	if out.Initiate || !out.DropStaged || out.DropStagedReason != GaveUp || out.Note != GaveUp || !out.ClearUnacked {
		t.Errorf("after 20: %+v", out)
	}
	if at, ok := b.m.Deadline(); ok { // there are no secrets to wipe
		t.Errorf("deadline %v", at.Sub(b.now))
	}
}

// A request for a key that is live already was overtaken.
func TestNeedKeysTooLate(t *testing.T) {
	b := newBare(t)
	b.session(1)
	for _, c := range []struct {
		after time.Duration
		why   Reason
		want  Actions
	}{
		{6 * time.Second, DataWaits, Actions{Flush: true}},
		{0, RekeySending, Actions{}},                   // 6 s old
		{0, RekeyReceiving, Actions{}},                 // 6 s old
		{114 * time.Second, RekeyReceiving, Actions{}}, // 120 s old
		{0, RekeySending, Actions{Initiate: true, InitiateReason: RekeySending, Attempt: 1}},
		{0, RekeySending, Actions{}},
	} {
		if out := b.need(c.after, c.why); out != c.want {
			t.Errorf("%v: %+v, want %+v", c.why, out, c.want)
		}
	}
	// The responder of a key renews it for its messages only.
	b = newBare(t)
	b.accept(0, 100)
	b.responded(1, 100)
	b.confirmed(1)
	if out := b.need(125*time.Second, RekeySending); out != (Actions{}) {
		t.Errorf("responder: %+v", out)
	}
	if out := b.need(0, RekeyMessages); !out.Initiate {
		t.Errorf("responder, messages: %+v", out)
	}
}

// The send key goes at 180 s at its deadline, and not before.
func TestSendKeyWithdrawn(t *testing.T) {
	b := newBare(t)
	b.session(1)
	born := b.now
	for {
		at, ok := b.m.Deadline()
		if !ok || at.Sub(b.now) > timers.KeepaliveTimeout {
			t.Fatalf("the next look is in %v", at.Sub(b.now))
		}
		out := b.advance(at.Sub(b.now), Activity{})
		age := b.now.Sub(born)
		if out.SetSendKey != (age == timers.RejectAfterTime) {
			t.Fatalf("at %v: %+v", age, out)
		}
		if out.SetSendKey {
			break
		}
	}
	if b.out.SendKey != nil {
		t.Error("there is another one")
	}
	if out := b.need(0, DataWaits); !out.Initiate {
		t.Errorf("data on a dead key: %+v", out)
	}
}

// A put-off request survives a change of the private key and goes at once.
func TestExpireServesWhatWaits(t *testing.T) {
	b := newBare(t)
	b.accept(0, 100)
	b.responded(1, 100)
	if out := b.need(time.Second, DataWaits); out != (Actions{}) {
		t.Fatalf("within 5 s of the response: %+v", out)
	}
	if at, ok := b.m.Deadline(); !ok || at != epoch.Add(timers.RekeyTimeout) {
		t.Fatalf("deadline %v, want 5 s after the response", at.Sub(epoch))
	}
	out := b.after(0, func(out *Actions) { b.m.Expire(b.now, out) })
	if !out.Initiate || out.InitiateReason != DataWaits {
		t.Errorf("Expire: %+v", out)
	}
	// The key of before may still be confirmed; it never sends.
	if out := b.confirmed(1); out.SetSendKey || out.Flush || out.ForgetN > 0 {
		t.Errorf("confirmed: %+v", out)
	}
}

// While it was built with the old private key: as if it was lost.
func TestExpireWhileBuilding(t *testing.T) {
	b := newBare(t)
	b.need(0, DataWaits)
	b.after(0, func(out *Actions) { b.m.Expire(b.now, out) })
	b.forgotten(b.initiated(1), 1)
	if out := b.advance(5*time.Second, Activity{}); !out.Initiate || out.InitiateReason != Retransmit {
		t.Errorf("T1: %+v", out)
	}
}

// A responder whose next died before it was confirmed does not use it.
func TestConfirmedTooLate(t *testing.T) {
	b := newBare(t)
	b.accept(0, 100)
	b.responded(1, 100)
	if out := b.after(timers.RejectAfterTime, func(out *Actions) { b.m.Confirmed(b.now, 1, out) }); out != (Actions{}) {
		t.Errorf("a dead key was confirmed: %+v", out)
	}
}

// T3's jitter is drawn once for each time data went unanswered, not at each look.
func TestNoReplyJitterDrawnOnce(t *testing.T) {
	drawn := 0
	b := newBare(t)
	b.session(1)
	b.m.rand = &Rand{Jitter: func() time.Duration { drawn++; return time.Duration(drawn) * 100 * time.Millisecond }}
	a := Activity{UnansweredSince: b.now.Add(time.Second)}
	b.advance(10*time.Second, a)
	want := a.UnansweredSince.Add(15100 * time.Millisecond)
	if at, _ := b.m.Deadline(); at != want {
		t.Fatalf("T3 in %v, want %v", at.Sub(epoch), want.Sub(epoch))
	}
	b.advance(want.Sub(b.now)-1, a) // early
	out := b.advance(1, a)
	if !out.Initiate || out.InitiateReason != NoReply || !out.ForgetSource || !out.ClearUnanswered {
		t.Errorf("T3: %+v", out)
	}
	if drawn != 1 {
		t.Errorf("jitter drawn %d times", drawn)
	}
}

func TestStamp(t *testing.T) {
	b := newBare(t)
	r := rand.New(rand.NewPCG(1, 1))
	var last noise.Timestamp
	for range 1000 {
		wall := stampOf(Time(r.Int64N(int64(time.Minute))))
		got := b.m.Stamp(wall)
		if !got.After(last) || wall.After(got) {
			t.Fatalf("label %x after %x at %x", got, last, wall)
		}
		if wall.After(last) && got != wall {
			t.Fatalf("label %x, want %x", got, wall)
		}
		last = got
	}
	if b.m.LastStamp() != last {
		t.Error("LastStamp is another one")
	}
	fresh := newBare(t)
	fresh.m.RestoreStamp(last)
	fresh.m.RestoreStamp(noise.Timestamp{}) // never back
	if got := fresh.m.Stamp(stampOf(0)); got != last.Next() {
		t.Errorf("after a restart %x, want %x", got, last.Next())
	}
}

// Clear keeps what protects against replays, and the interval.
func TestClearKeeps(t *testing.T) {
	b := newBare(t)
	b.after(0, func(out *Actions) { b.m.SetPersistentKeepalive(b.now, 25*time.Second, true, out) })
	b.accept(time.Second, 100)
	stamp := b.m.Stamp(stampOf(b.now))
	b.after(0, b.m.Clear)
	in := noise.OpenedInitiation{RemoteIndex: 100, Timestamp: stampOf(b.now)}
	if err := b.m.Initiation(b.now.Add(time.Second), &in, &Actions{}); err != ErrOldTimestamp {
		t.Errorf("a replay after Clear: %v", err)
	}
	if b.m.LastStamp() != stamp {
		t.Error("the last label sent is lost")
	}
	if out := b.after(time.Second, func(out *Actions) { b.m.Up(b.now, false, out) }); !out.Initiate || out.InitiateReason != PersistentKeepalive {
		t.Errorf("up: %+v", out)
	}
}

// Setting what is there already does nothing.
func TestSetPersistentKeepaliveAgain(t *testing.T) {
	b := newBare(t)
	set := func(d time.Duration, up bool) Actions {
		return b.after(time.Second, func(out *Actions) { b.m.SetPersistentKeepalive(b.now, d, up, out) })
	}
	if out := set(25*time.Second, false); out != (Actions{}) {
		t.Errorf("while down: %+v", out)
	}
	if at, ok := b.m.Deadline(); ok {
		t.Errorf("while down: deadline %v", at)
	}
	set(0, true)
	if out := set(25*time.Second, true); !out.Initiate {
		t.Errorf("0 -> 25: %+v", out)
	}
	b.initiated(1)
	b.response(1)
	if out := set(25*time.Second, true); out != (Actions{}) {
		t.Errorf("25 -> 25: %+v", out)
	}
	set(0, true)
	if out := set(25*time.Second, true); !out.Flush || !out.Keepalive || out.KeepaliveReason != PersistentKeepalive {
		t.Errorf("0 -> 25 with a session: %+v", out)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := None; r < reasons; r++ {
		if s := r.String(); s == "" || seen[s] {
			t.Errorf("reason %d: %q", r, s)
		}
		seen[r.String()] = true
	}
	if got := Reason(200).String(); got != "reason 200" {
		t.Error(got)
	}
}

// Steady traffic costs a look each 10 s, which allocates nothing.
func TestAdvanceDoesNotAllocate(t *testing.T) {
	b := newBare(t)
	b.session(1)
	n := testing.AllocsPerRun(10, func() {
		b.now = b.now.Add(10 * time.Second)
		var out Actions
		b.m.Advance(b.now, Activity{LastTraffic: b.now, UnackedSince: b.now}, &out)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdvance(b *testing.B) {
	m := New(&Rand{Jitter: func() time.Duration { return 0 }})
	var out Actions
	now := epoch
	m.NeedKeys(now, ConfigChanged, &out)
	m.Initiated(now, 1, &out)
	if err := m.Response(now, 1, &noise.Keypair{LocalIndex: 1, Initiator: true}, &out); err != nil {
		b.Fatal(err)
	}
	m.keys.sendUntil, m.zero, m.keys.lookTill = clock.Never, clock.Never, 1<<62
	for b.Loop() {
		now, _ = m.Deadline()
		out = Actions{}
		m.Advance(now, Activity{LastTraffic: now, UnackedSince: now}, &out)
	}
}
