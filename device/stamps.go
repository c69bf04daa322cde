package device

import (
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

// stampKeeper saves labels. Its goroutine (run) ends when Close closes want,
// after the last label was saved.
type stampKeeper struct {
	store    StampStore
	last     noise.Timestamp // used, by this run or an earlier one; the controller's
	reserved noise.Timestamp // saved, or about to be; the controller's
	want     chan noise.Timestamp
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

// run saves what is wanted, and says what went wrong.
func (k *stampKeeper) run(failed func(error)) {
	for stamp := range k.want {
		if err := k.store.Save(stamp); err != nil {
			failed(err)
		}
	}
	if err := k.store.Save(k.last); err != nil {
		failed(err)
	}
}
