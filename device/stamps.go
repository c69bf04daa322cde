package device

import (
	"sync/atomic"
	"time"

	"culvert/noise"
)

// A StampStore keeps the label of the last initiation over restarts, so that a
// wall clock that went back while the daemon was not running does not lock us
// out at our peers, which accept only newer labels. One label serves all peers.
type StampStore interface {
	// Load gives what was saved last; the zero label if nothing ever was.
	Load() (noise.Timestamp, error)
	// Save is called by one goroutine at a time and may take its time.
	Save(noise.Timestamp) error
}

// stampReserve is how far ahead of the last label one is saved, so that the
// disk is written to once in that time and not for each initiation. A restart
// after a crash may begin that far ahead of the clock, which peers do not mind.
const stampReserve = 10 * time.Minute

// A label that could not be saved (disk full, read-only, directory gone) is tried again
// after stampRetry, twice as long each time up to stampRetryLast.
const (
	stampRetry     = time.Second
	stampRetryLast = time.Minute
)

// stampKeeper saves labels. Its goroutine (run) ends when Close closes want,
// after the last label was saved.
type stampKeeper struct {
	store    StampStore
	last     noise.Timestamp // used, by this run or an earlier one; the controller's
	reserved noise.Timestamp // saved, or about to be; the controller's
	want     chan noise.Timestamp
	failures atomic.Uint64
}

func newStampKeeper(s StampStore) (*stampKeeper, error) {
	last, err := s.Load()
	return &stampKeeper{store: s, last: last, want: make(chan noise.Timestamp, 1)}, err
}

// used notes that an initiation goes out with stamp. The disk may be slow, the
// controller is not: an older wish that still waits is replaced.
func (k *stampKeeper) used(stamp noise.Timestamp) {
	if !stamp.After(k.last) {
		return
	}
	k.last = stamp
	if !stamp.After(k.reserved) {
		return
	}
	k.reserved = noise.NewTimestamp(stamp.Time().Add(stampReserve))
	select {
	case <-k.want:
	default:
	}
	k.want <- k.reserved
}

// run saves what is wanted, until it is saved, and says what goes wrong.
func (k *stampKeeper) run(failed func(error)) {
	for stamp := range k.want {
		for wait := stampRetry; !k.save(stamp, failed); wait = min(2*wait, stampRetryLast) {
			select {
			case <-time.After(wait):
				continue
			case newer, ok := <-k.want:
				if stamp = newer; ok {
					continue
				}
			}
			break
		}
	}
	k.save(k.last, failed)
}

func (k *stampKeeper) save(stamp noise.Timestamp, failed func(error)) bool {
	err := k.store.Save(stamp)
	if err != nil {
		k.failures.Add(1)
		failed(err)
	}
	return err == nil
}
