package timers

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// item is what the tests put on a wheel.
type item struct {
	entry Entry[item]
	at    Time // 0: not armed
	since Time // the later of at and when it was armed
	id    int
}

// pair is a wheel and its slow oracle: a list that is walked whole.
type pair struct {
	t     testing.TB
	w     *Wheel[item]
	now   Time
	items []item
}

func newPair(t testing.TB, now Time, n int) *pair {
	p := &pair{t: t, w: NewWheel[item](now), now: now, items: make([]item, n)}
	for i := range p.items {
		p.items[i].id = i
		p.items[i].entry.Owner = &p.items[i]
	}
	return p
}

func (p *pair) arm(i int, at Time) {
	p.items[i].at, p.items[i].since = at, max(at, p.now)
	p.w.Arm(&p.items[i].entry, at)
}

func (p *pair) disarm(i int) {
	p.items[i].at = 0
	p.w.Disarm(&p.items[i].entry)
}

// expire goes to now; inFire is called for what fires.
func (p *pair) expire(now Time, inFire func(*item)) {
	p.now = now
	p.w.Expire(now, func(it *item) {
		if it.at == 0 {
			p.t.Fatalf("item %d fired but is not armed", it.id)
		}
		if it.at > now {
			p.t.Fatalf("item %d fired %v early", it.id, it.at.Sub(now))
		}
		it.at = 0
		if inFire != nil {
			inFire(it)
		}
	})
}

// check compares the wheel with the oracle. armedAt is when each was armed.
func (p *pair) check() {
	p.t.Helper()
	count, next := 0, Time(0)
	for i := range p.items {
		it := &p.items[i]
		if armed := it.at != 0; armed != it.entry.Armed() {
			p.t.Fatalf("item %d: armed %v, want %v", i, it.entry.Armed(), armed)
		}
		if it.at == 0 {
			continue
		}
		count++
		next = next.Min(it.at)
	}
	if p.w.Len() != count {
		p.t.Fatalf("Len %d, want %d", p.w.Len(), count)
	}
	got, ok := p.w.Next()
	if ok != (count > 0) {
		p.t.Fatalf("Next says %v with %d armed", ok, count)
	}
	if !ok {
		return
	}
	if got <= p.now-p.now%Tick {
		p.t.Fatalf("Next %v has passed (now %v)", got, p.now)
	}
	if late := got.Sub(max(next, p.now)); late > time.Duration(Tick) {
		p.t.Fatalf("Next is %v after the first deadline", late)
	}
}

// noneOverdue fails if a deadline is more than a tick ago.
func (p *pair) noneOverdue() {
	p.t.Helper()
	for i := range p.items {
		if it := &p.items[i]; it.at != 0 && it.since+Tick <= p.now {
			p.t.Fatalf("item %d is %v late", i, p.now.Sub(it.since))
		}
	}
}

const start = Time(1_000_000_000_007)

func TestWheelAgainstOracle(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPair(t, start, 1+r.IntN(60))
		for range 2000 {
			step(p, r.Uint64(), r.Uint64())
		}
	}
}

// step does one operation, told by two numbers.
func step(p *pair, what, how uint64) {
	i := int(what>>8) % len(p.items)
	// From nanoseconds to hours: a random number of random length.
	d := time.Duration(how >> 8 >> (20 + how%36))
	switch what % 8 {
	case 0, 1, 2:
		p.arm(i, p.now.Add(d))
	case 3:
		p.arm(i, max(1, p.now.Add(-d)))
	case 4:
		p.disarm(i)
	case 5: // the owner comes when it was told to
		if next, ok := p.w.Next(); ok && next > p.now {
			p.expire(next, nil)
			p.noneOverdue()
		}
	case 6:
		p.expire(p.now.Add(d), nil)
		p.noneOverdue()
	case 7: // what fires arms and disarms others and itself
		p.expire(p.now.Add(d), func(it *item) {
			j := (it.id + int(how)) & 0xffff % len(p.items)
			switch (it.id + int(how>>16)) % 4 {
			case 0:
				p.arm(it.id, p.now)
			case 1:
				p.disarm(j)
			case 2:
				p.arm(j, p.now.Add(d))
			}
		})
	}
	p.check()
}

func FuzzWheel(f *testing.F) {
	f.Add([]byte("arm some, let them fire, jump far"))
	f.Add([]byte{0, 1, 2, 3, 5, 200, 6, 9, 7, 30, 4, 90})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p := newPair(t, start, 8)
		for ; len(ops) >= 4; ops = ops[4:] {
			what := uint64(ops[0]) | uint64(ops[1])<<8
			how := uint64(ops[2]) | uint64(ops[3])<<56 | uint64(ops[3])<<48
			step(p, what, how)
		}
	})
}

// fired goes to now and tells which items fired.
func (p *pair) fired(now Time) (ids []int) {
	p.expire(now, func(it *item) { ids = append(ids, it.id) })
	return ids
}

func (p *pair) want(now Time, want ...int) {
	p.t.Helper()
	got := p.fired(now)
	if len(got) != len(want) {
		p.t.Fatalf("fired %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			p.t.Fatalf("fired %v, want %v", got, want)
		}
	}
}

func TestWheelLateByATickAtMost(t *testing.T) {
	p := newPair(t, Tick, 3)
	p.arm(0, 10*Tick)
	p.arm(1, 10*Tick+1)
	p.arm(2, 11*Tick)
	p.want(10*Tick - 1)
	p.want(10*Tick, 0)
	p.want(10*Tick + 1) // due, but within the tick
	p.want(11*Tick, 1, 2)
}

func TestWheelBeyondARevolution(t *testing.T) {
	p := newPair(t, Tick, 2)
	const far = 10*Tick + 2*slotCount*Tick
	p.arm(0, 10*Tick)
	p.arm(1, far)
	p.want(10*Tick, 0)
	wakes := 0
	for next, ok := p.w.Next(); ok; next, ok = p.w.Next() {
		p.expire(next, nil)
		wakes++
	}
	if p.now != far || wakes != 2 {
		t.Fatalf("fired at %v after %d wakes, want %v after 2", p.now, wakes, far)
	}
}

func TestWheelJumpCostsOneRevolution(t *testing.T) {
	p := newPair(t, Tick, 3)
	p.arm(0, 5*Tick)
	p.arm(1, 5000*Tick)
	p.arm(2, 1<<51)
	p.want(1<<50, 0, 1)
}

func TestWheelExtremes(t *testing.T) {
	p := newPair(t, 1, 2)
	p.arm(0, 1<<63-1)
	p.arm(1, 0)
	p.items[1].at = 1 // the oracle's 0 is "not armed"
	p.want(2*Tick, 1)
	if _, ok := p.w.Next(); !ok {
		t.Fatal("the far entry is lost")
	}
	p.want(1)         // the clock went back: nothing
	p.want(1<<63 - 1) // the last instant lies within a tick: not yet
	p.disarm(0)
	p.disarm(0)
	if _, ok := p.w.Next(); ok || p.w.Len() != 0 {
		t.Fatal("something is armed")
	}
}

// What fires may re-arm itself with a deadline that has passed; it must not
// fire again in the same call.
func TestWheelFireRearmsItself(t *testing.T) {
	p := newPair(t, Tick, 2)
	p.arm(0, 2*Tick)
	p.arm(1, 2*Tick)
	n := 0
	p.expire(3*Tick, func(it *item) {
		if n++; n > 2 {
			t.Fatal("fired again in the same call")
		}
		p.arm(it.id, 2*Tick)
	})
	p.want(4*Tick, 0, 1)
}

func TestEntryIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Entry[item]{}); n > 32 {
		t.Errorf("Entry has %d bytes, want at most 32", n)
	}
	if n := unsafe.Sizeof(Wheel[item]{}); n > 34<<10 {
		t.Errorf("Wheel has %d bytes, want at most 34 KiB", n)
	}
}

func TestWheelDoesNotAllocate(t *testing.T) {
	p := newPair(t, start, 100)
	if n := testing.AllocsPerRun(100, func() {
		for i := range p.items {
			p.w.Arm(&p.items[i].entry, p.now.Add(time.Duration(i)*time.Second))
		}
		p.now += 50 * Tick
		p.w.Expire(p.now, func(it *item) {})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
