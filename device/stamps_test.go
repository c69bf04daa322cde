package device

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/noise"
)

// fullStore is a StampStore on a disk that is full until it is not.
type fullStore struct {
	memoryStore
	left  int // failures
	since time.Time
	tried []int // seconds after since
	asked noise.Timestamp
}

func (f *fullStore) Save(last noise.Timestamp) error {
	f.tried = append(f.tried, int(time.Since(f.since)/time.Second))
	f.asked = last
	if f.left > 0 {
		f.left--
		return syscall.ENOSPC
	}
	return f.memoryStore.Save(last)
}

// A label that cannot be saved is tried again, ever more rarely, and it is the label
// ahead of the one in use that is saved in the end. Traffic knows nothing of it.
func TestStampIsSavedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fullStore{left: 9, since: time.Now()}
		p := newPair(t, Options{Stamps: store})
		p.connect()
		sleep(5 * time.Minute)
		if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}; !slices.Equal(store.tried, want) {
			t.Errorf("tried after %v s, not %v", store.tried, want)
		}
		if n := p.a.d.Stats().StampFailures; n != 9 {
			t.Errorf("%d failures counted", n)
		}
		if ahead := store.last.Time().Sub(store.since); ahead < stampReserve-time.Second || ahead > stampReserve+time.Second {
			t.Errorf("saved %v ahead of its use", ahead)
		}
	})
}

// A newer label replaces one that cannot be saved, and Close does not wait for a
// disk that stays full: it tries once.
func TestStampsAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fullStore{left: 1 << 30, since: time.Now()}
		p := newPair(t, Options{Stamps: store})
		p.connect()
		sleep(30 * time.Minute)
		p.crosses() // its initiation wants a later label
		if ahead := store.asked.Time().Sub(store.since); ahead < 30*time.Minute+stampReserve {
			t.Errorf("the label asked to be saved is %v ahead of the first", ahead)
		}
		begin, tries := time.Now(), len(store.tried)
		p.a.close()
		if took := time.Since(begin); took != 0 || len(store.tried) != tries+1 {
			t.Errorf("Close took %v and %d tries", took, len(store.tried)-tries)
		}
	})
}
