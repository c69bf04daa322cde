package device

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"

	"culvert/conn"
	"culvert/conn/conntest"
	"culvert/noise"
	"culvert/tun/tuntest"
)

// newTestPool is a pool of ints, of 10 bytes each.
func newTestPool(limit, max int) (p *pool[int], woken, dropped *int) {
	woken, dropped = new(int), new(int)
	return &pool[int]{budget: &budget{limit: int64(limit)}, size: 10, max: max, users: 1, keep: 1,
		make: func() *int { return new(int) }, drop: func(*int) { *dropped++ },
		short: func() {}, wake: func() { *woken++ }}, woken, dropped
}

func take(p *pool[int], n int) (got []*int) {
	for range n {
		if x := p.get(); x != nil {
			got = append(got, x)
		}
	}
	return got
}

func putAll(p *pool[int], xs []*int) {
	for _, x := range xs {
		p.put(x)
	}
}

// Both bounds hold, and what is refused costs nothing.
func TestPoolIsBounded(t *testing.T) {
	for _, c := range []struct{ limit, max int }{{49, 1000}, {1000, 49}} {
		p, _, _ := newTestPool(c.limit, c.max)
		got := take(p, 10)
		if len(got) != 4 || p.inUse() != 4 || p.budget.used.Load() != 40 || !p.scarce() {
			t.Errorf("%+v: %d items, %d in use, %d bytes", c, len(got), p.inUse(), p.budget.used.Load())
		}
		putAll(p, got)
		if p.scarce() || len(take(p, 10)) != 4 || p.inUse() != 4 || p.budget.used.Load() != 40 {
			t.Errorf("%+v: not as many the second time", c)
		}
	}
}

// A system without memory is as good as a budget that is used up.
func TestPoolWithoutMemory(t *testing.T) {
	p, _, _ := newTestPool(100, 100)
	p.make = func() *int { return nil }
	if p.get() != nil || p.inUse() != 0 || p.budget.used.Load() != 0 {
		t.Errorf("%d in use, %d bytes", p.inUse(), p.budget.used.Load())
	}
}

// What one direction keeps goes before the other one is refused.
func TestPoolTakesWhatOthersKeep(t *testing.T) {
	a, _, dropped := newTestPool(40, 1000)
	b, _, _ := newTestPool(0, 1000)
	b.budget, b.short = a.budget, a.trim
	putAll(a, take(a, 4))
	if got := take(b, 5); len(got) != 4 || *dropped != 4 || a.budget.used.Load() != 40 {
		t.Errorf("%d items, %d let go, %d bytes", len(got), *dropped, a.budget.used.Load())
	}
}

// A sweep lets go of what nobody needed since the last one, and of nothing
// else. Nobody is woken for the few items that light traffic uses, nor when
// nothing is kept any more.
func TestPoolSweep(t *testing.T) {
	p, woken, dropped := newTestPool(1000, 1000)
	want := func(step string, wakes, lets int) {
		t.Helper()
		if *woken != wakes || *dropped != lets {
			t.Fatalf("%s: woken %d times, not %d; %d let go, not %d", step, *woken, wakes, *dropped, lets)
		}
	}
	sweep := func(more bool) {
		t.Helper()
		if p.sweep() != more {
			t.Fatalf("the sweep says %v", !more)
		}
	}
	for range 3 {
		putAll(p, take(p, 1))
	}
	want("light traffic", 0, 0)
	putAll(p, take(p, 8))
	want("a burst", 1, 0)
	sweep(true)
	want("a look too soon after it", 1, 2)
	putAll(p, take(p, 4))
	sweep(true)
	want("4 of 6 were needed", 1, 4)
	held := take(p, 3)
	sweep(false)
	want("3 of 4 are in use, the other was not needed", 1, 5)
	putAll(p, held[:1])
	want("light traffic again", 1, 5)
	putAll(p, held[1:])
	want("the end of it", 2, 5)
	sweep(false)
	want("nothing is needed; one may be", 2, 7)
	if n := p.budget.used.Load(); n != 10 {
		t.Errorf("%d bytes are left", n)
	}
}

// After a burst all memory but the readers' own goes back to the system, then
// nobody wakes up any more, and the next burst finds memory again.
func TestMemoryGoesBackAfterLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: 3, AlwaysParallel: true})
		p.connect()
		idle := p.a.d.budget.used.Load()
		for range 2 {
			var packets [][]byte
			hold := p.a.gate()
			for i := range 40 {
				packets = append(packets, p.a.packet4(p.b, fmt.Sprint(i)))
				p.a.send(packets[i])
				synctest.Wait()
			}
			if n := p.a.d.budget.used.Load(); n < idle+int64(4*outBatchSize) {
				t.Errorf("%d bytes under load, %d without: the test tests nothing", n, idle)
			}
			close(hold.open)
			p.b.wantReceived(packets...)
			sleep(2*sweepEvery + grain)
			for _, h := range []*host{p.a, p.b} {
				if n := h.d.budget.used.Load(); n > idle {
					t.Errorf("%s: %d bytes are held without need, %d before the load", h.name, n, idle)
				}
				h.d.do(func() {
					if h.d.controller.pools.at != 0 {
						t.Errorf("%s: somebody will look at what is not there", h.name)
					}
				})
			}
		}
	})
}

// What is said to be beside the budget is all there is.
func TestBesideBudget(t *testing.T) {
	const limiter, tunReader = 2 << 20, 1<<16 + 1<<10
	spare := conn.SlotSize + maxMerged*(unsafe.Sizeof(inPacket{})+unsafe.Sizeof([]byte{}))
	const small = receiveSlots * (asideSize + conn.SlotSize - conn.MessageSize + unsafe.Sizeof(inPacket{}) + unsafe.Sizeof([]byte{}))
	sum := handshakeQueue*(unsafe.Sizeof(hsMessage{})+unsafe.Sizeof(&hsMessage{})) +
		jobQueue*(unsafe.Sizeof(hsJob{})+unsafe.Sizeof(noise.OpenedInitiation{})) +
		eventQueue*(unsafe.Sizeof(event{})+noise.InitiationSize) +
		limiter + 2*((1+receiveSlots)*spare+small) + tunReader + unsafe.Sizeof(keepalives{})
	if rounded := sum + sum/8; rounded > besideBudget { // as the allocator may
		t.Errorf("%d bytes, rounded up, not %d", rounded, besideBudget)
	}
}

// A batch takes no more than it is charged with, however it is used.
func TestBatchesAreChargedInFull(t *testing.T) {
	r := newRig(t, 5, Options{Workers: -1})
	out, in := r.outboundWork(), r.inboundWork()
	for range 20 {
		r.runOutbound(out)
		r.runInbound(in)
	}
	var slice []byte
	for _, b := range r.d.outPool.free {
		n := cap(b.mem) + cap(b.packets)*int(unsafe.Sizeof(outPacket{})) + cap(b.runs)*int(unsafe.Sizeof(conn.Run{}))
		if n > outBatchSize {
			t.Errorf("an outbound batch has %d bytes, and is charged with %d", n, outBatchSize)
		}
	}
	b := r.in.batch
	n := len(b.conn.Slots())*conn.SlotSize + cap(b.packets)*int(unsafe.Sizeof(inPacket{})) +
		cap(b.writes)*int(unsafe.Sizeof(slice)) + len(b.groups)*int(unsafe.Sizeof(inGroup{})+96) // a channel has 96
	if n > inBatchSize || len(b.groups) > keptGroups {
		t.Errorf("an inbound batch has %d bytes, and is charged with %d", n, inBatchSize)
	}
}

// A budget that could not work is refused, and the interface given up.
func TestLeastBudget(t *testing.T) {
	t1 := tuntest.NewUp(1420)
	d, err := New(t1, conntest.NewNetwork(1).Host(nowhere.Addr()), Options{Budget: MinBudget - 1})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(MinBudget)) {
		t.Errorf("%v, %v", d, err)
	}
	if t1.Send(make([]byte, 20)) {
		t.Error("the interface is still open")
	}
	if least := int64(inReserve + outReserve); least > MinBudget-MinBudget/4 {
		t.Errorf("%d bytes are needed, MinBudget leaves %d", least, MinBudget-MinBudget/4)
	}
	if d, err = New(tuntest.NewUp(1420), conntest.NewNetwork(1).Host(nowhere.Addr()), Options{Budget: MinBudget}); err != nil {
		t.Fatal(err)
	}
	d.Close()
}
