package device

import (
	"crypto/rand"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

// The table behaves as a map through growth and shrinkage, and readers that run
// all the while never see a wrong entry.
func TestIndexTableAgainstMap(t *testing.T) {
	var table indexTable
	want := map[uint32]*keypair{}
	r := mrand.New(mrand.NewPCG(1, 2))
	var indices []uint32
	fixed, err := table.reserve(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stays := &keypair{}
	table.setKeypair(fixed, stays)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if e := table.get(fixed); e == nil || e.keypair.Load() != stays {
					t.Error("an index that was never released is not found")
					return
				}
			}
		})
	}
	for step := range 20_000 {
		if grow := step%8000 < 5000; len(indices) == 0 || r.IntN(10) < map[bool]int{true: 7, false: 2}[grow] {
			i, err := table.reserve(rand.Reader)
			if err != nil || want[i] != nil {
				t.Fatalf("reserve gives %#x, %v", i, err)
			}
			want[i] = &keypair{}
			table.setKeypair(i, want[i])
			indices = append(indices, i)
			continue
		}
		k := r.IntN(len(indices))
		i := indices[k]
		indices[k] = indices[len(indices)-1]
		indices = indices[:len(indices)-1]
		table.release(i)
		table.release(i) // spurious
		delete(want, i)
		if table.get(i) != nil {
			t.Fatal("a released index is found")
		}
	}
	for i, k := range want {
		if e := table.get(i); e == nil || e.keypair.Load() != k {
			t.Fatalf("index %#x is lost", i)
		}
	}
	if table.len() != len(want)+1 {
		t.Fatalf("%d entries, not %d", table.len(), len(want)+1)
	}
	close(stop)
	readers.Wait()
}

// Items come out in the order they were pushed, one emitter at a time, whoever
// pushes and however the emitters end and begin.
func TestSequenceKeepsOrder(t *testing.T) {
	var s sequence[int]
	var got []int // only the emitter writes: the race detector watches
	var emitters sync.WaitGroup
	for i := range 5000 {
		if s.push(i) {
			emitters.Go(func() {
				for x, ok := s.next(); ok; x, ok = s.next() {
					got = append(got, x)
				}
			})
		}
	}
	emitters.Wait()
	if len(got) != 5000 {
		t.Fatalf("%d of 5000 came out", len(got))
	}
	for i, x := range got {
		if x != i {
			t.Fatalf("item %d is %d", i, x)
		}
	}
	if !s.enter() {
		t.Fatal("a dry sequence cannot be entered")
	}
	if s.enter() || s.push(1) {
		t.Fatal("two emitters at once")
	}
	if x, ok := s.next(); !ok || x != 1 {
		t.Fatalf("next gives %d, %v", x, ok)
	}
	if _, ok := s.next(); ok || !s.enter() {
		t.Fatal("the emitter's term did not end")
	}
}

// A queue that never runs dry takes no more room than what waits in it.
func TestSequenceThatNeverRunsDryStaysSmall(t *testing.T) {
	var s sequence[int]
	s.push(0)
	for i := 1; i < 100_000; i++ {
		s.push(i)
		if x, ok := s.next(); !ok || x != i-1 {
			t.Fatalf("next gives %d, %v", x, ok)
		}
	}
	if n := cap(s.waits.queue); n > 64 {
		t.Fatalf("room for %d items where one waits", n)
	}
}

// Who waits for a turn has it after what was there before, and before what others push meanwhile, though the queue never
// runs dry.
func TestWaitingForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sequence[int]
		s.enter()
		s.push(1)
		turn := false
		go func() {
			s.enterWaiting()
			turn = true
		}()
		synctest.Wait()
		for i := 2; ; i++ {
			if s.push(i); i > 100 {
				t.Fatal("others go on, and it waits")
			}
			x, ok := s.next()
			if synctest.Wait(); ok && x == 1 && !turn {
				continue
			}
			if ok || !turn {
				t.Fatalf("next gives %d, %v; it has its turn: %v", x, ok, turn)
			}
			break
		}
		if s.enter() {
			t.Fatal("two emitters at once")
		}
		for want := 2; want <= 3; want++ {
			if x, ok := s.next(); !ok || x != want {
				t.Fatalf("next gives %d, %v, want %d", x, ok, want)
			}
		}
		if _, ok := s.next(); ok || !s.enter() {
			t.Fatal("the term did not end")
		}
	})
}
