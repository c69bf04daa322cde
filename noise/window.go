package noise

// The replay window (RFC 6479's ring of words, in the kernel's size).
const (
	windowBits  = 8192
	windowWords = windowBits / 64
	// WindowSize is how far behind the greatest counter seen a counter may be.
	// One word less than the ring holds: the greatest counter's word is partly
	// ahead of it.
	WindowSize = windowBits - 64 // 8128
	// RejectAfterMessages is the first counter that is never accepted (paper,
	// section 6.1; the kernel's value). The limits on sending are in package timers.
	RejectAfterMessages = 1<<64 - 1 - WindowSize - 1
)

// fewBits is how many counters a window has memory for to begin with: more than
// keepalives of every second need in a key's life. A million sessions that are quiet
// save a KiB each.
const fewBits = 256

// WindowBytes is what a wide window takes besides.
const WindowBytes = windowWords * 8

// Window is the replay window of a receiving key: 48 bytes, and 1024 more once a counter
// is 256 or greater. The zero value is ready. One owner.
type Window struct {
	next uint64 // greatest counter seen + 1; 0: none yet
	few  [fewBits / 64]uint64
	ring *[windowWords]uint64 // bit c%8192 is counter c, for the words up to next's; nil: few has them
}

// Accept marks counter as seen. False, and nothing changed, if it was seen
// before, is more than WindowSize behind the greatest seen, or is not below RejectAfterMessages.
// Ask after the message has been authenticated, never before. Allocates once.
func (w *Window) Accept(counter uint64) bool {
	if counter >= RejectAfterMessages {
		return false
	}
	if w.ring == nil {
		if counter < fewBits {
			w.next = max(w.next, counter+1)
			return mark(&w.few[counter/64], counter)
		}
		w.ring = new([windowWords]uint64)
		copy(w.ring[:], w.few[:])
	}
	if counter >= w.next {
		w.advance(counter)
	} else if w.next-1-counter > WindowSize {
		return false
	}
	return mark(&w.ring[counter/64%windowWords], counter)
}

// Wide reports whether a counter of 256 or more has come.
func (w *Window) Wide() bool { return w.ring != nil }

// mark sets the bit of counter in its word; false if it was set.
func mark(word *uint64, counter uint64) bool {
	bit := uint64(1) << (counter % 64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// advance makes counter the greatest and clears the words it enters.
func (w *Window) advance(counter uint64) {
	fresh := (w.next + 63) / 64 // the first word no counter has touched
	last := counter / 64
	if last >= fresh+windowWords {
		fresh = last - windowWords + 1
	}
	for ; fresh <= last; fresh++ {
		w.ring[fresh%windowWords] = 0
	}
	w.next = counter + 1
}
