package timers

import "math/bits"

// The wheel has 4096 slots of 2^26 ns (67 ms) each, a revolution of 275 s.
//
//   - 67 ms: the only deadlines the protocol has are seconds long, and it
//     adds up to 333 ms of jitter itself. A power of two turns the division
//     into a shift.
//   - 4096: a revolution is longer than every deadline but T4 (540 s, passed
//     over once) and very long persistent keepalives. The slots are
//     32 KiB, and a two-level bitmap of them has 64 words and one summary word,
//     so that the next occupied slot is found with two bit scans.
//
// A hierarchy of wheels would move entries down now and then; here an entry is
// linked once and unlinked once.
const (
	tickBits = 26
	// Tick is the wheel's grain: an entry fires less than this after its
	// deadline.
	Tick      = Time(1) << tickBits
	slotCount = 4096
	slotMask  = slotCount - 1
	due       = -1 // the tick of an entry that Expire has picked
)

// Entry is a peer's place in a Wheel, embedded in the peer: 32 bytes. Owner
// is set once, before the first Arm; what else there is belongs to the wheel.
// The zero value with an Owner is ready and not armed. Do not copy it while
// it is armed.
type Entry[T any] struct {
	Owner      *T
	next, prev *Entry[T] // ring of the slot; nil when not armed
	tick       int64     // the first tick at or after the deadline, or due
}

// Armed reports whether e is in its wheel.
func (e *Entry[T]) Armed() bool { return e.next != nil }

// Wheel is a hashed timing wheel, about 33 KiB. It has one owner. Make it with
// NewWheel.
type Wheel[T any] struct {
	tick    int64 // every entry of this tick and before has fired
	count   int
	picked  *Entry[T]            // ring of entries that Expire is about to fire
	slots   [slotCount]*Entry[T] // rings, by tick modulo slotCount
	words   [slotCount / 64]uint64
	summary uint64 // which words are not 0
}

// NewWheel makes an empty wheel whose time is now.
func NewWheel[T any](now Time) *Wheel[T] {
	return &Wheel[T]{tick: int64(now >> tickBits)}
}

// Len is how many entries are armed.
func (w *Wheel[T]) Len() int { return w.count }

// Arm sets or moves the deadline of e. A deadline that has passed is due at
// the next tick. O(1).
func (w *Wheel[T]) Arm(e *Entry[T], at Time) {
	tick := int64(at >> tickBits)
	if at&(Tick-1) != 0 {
		tick++ // rounded up: never early
	}
	tick = max(tick, w.tick+1)
	if e.Armed() {
		if e.tick == tick {
			return
		}
		w.Disarm(e)
	}
	e.tick = tick
	w.count++
	slot := tick & slotMask
	push(&w.slots[slot], e)
	w.words[slot/64] |= 1 << (slot % 64)
	w.summary |= 1 << (slot / 64)
}

// Disarm takes e out, if it is in. O(1).
func (w *Wheel[T]) Disarm(e *Entry[T]) {
	if !e.Armed() {
		return
	}
	w.count--
	if e.tick == due {
		unlink(&w.picked, e)
		return
	}
	w.unlinkSlot(e)
}

// unlinkSlot takes e out of its slot and keeps the bitmap true.
func (w *Wheel[T]) unlinkSlot(e *Entry[T]) {
	slot := e.tick & slotMask
	unlink(&w.slots[slot], e)
	if w.slots[slot] != nil {
		return
	}
	if w.words[slot/64] &^= 1 << (slot % 64); w.words[slot/64] == 0 {
		w.summary &^= 1 << (slot / 64)
	}
}

// Next is when Expire is to be called next; false if nothing is armed. It may
// be too soon for an entry that is more than a revolution away (Expire then fires
// nothing), never too late. O(1).
func (w *Wheel[T]) Next() (Time, bool) {
	if w.summary == 0 {
		return 0, false
	}
	from := w.tick + 1
	ahead := (w.occupied(from&slotMask) - from) & slotMask
	return Time(from+ahead) << tickBits, true
}

// occupied is the first occupied slot at or after from, going round. Some
// slot is.
func (w *Wheel[T]) occupied(from int64) int64 {
	word := from / 64
	if rest := w.words[word] >> (from % 64); rest != 0 {
		return from + int64(bits.TrailingZeros64(rest))
	}
	// The words after this one, then round to this one, whose low bits are left.
	after := w.summary &^ (1<<(word+1) - 1) // a shift by 64 gives 0, so this is 0 for the last word
	if after == 0 {
		after = w.summary
	}
	word = int64(bits.TrailingZeros64(after))
	return word*64 + int64(bits.TrailingZeros64(w.words[word]))
}

// Expire disarms the entries whose deadline has passed and calls fire for
// each, in the order of ticks. Time counts in ticks: an entry never fires
// early, and late by less than a tick if Expire is called when Next says so;
// within a tick further calls do nothing and cost nothing. fire may arm and
// disarm any entry, its own included; what it arms does not fire in this
// call. A jump of the clock costs one revolution at most, and only the slots
// occupied.
func (w *Wheel[T]) Expire(now Time, fire func(*T)) {
	target := int64(now >> tickBits)
	if target <= w.tick {
		return
	}
	from, n := w.tick+1, min(target-w.tick, slotCount)
	w.tick = target
	w.pick(from, n)
	for e := w.picked; e != nil; e = w.picked {
		w.Disarm(e)
		fire(e.Owner)
	}
}

// pick moves what is due in the n slots from tick from on to the ring picked.
// Entries of a later revolution stay where they are.
func (w *Wheel[T]) pick(from, n int64) {
	for end := from + n; w.summary != 0; from++ {
		from += (w.occupied(from&slotMask) - from) & slotMask
		if from >= end {
			return
		}
		w.pickSlot(from & slotMask)
	}
}

func (w *Wheel[T]) pickSlot(slot int64) {
	e := w.slots[slot]
	for last := e.prev; ; {
		next, done := e.next, e == last
		if e.tick <= w.tick {
			w.unlinkSlot(e)
			e.tick = due
			push(&w.picked, e)
		}
		if done {
			return
		}
		e = next
	}
}

// push puts e at the end of the ring that head leads to.
func push[T any](head **Entry[T], e *Entry[T]) {
	first := *head
	if first == nil {
		e.next, e.prev = e, e
		*head = e
		return
	}
	e.next, e.prev = first, first.prev
	e.prev.next, first.prev = e, e
}

// unlink takes e out of the ring that head leads to.
func unlink[T any](head **Entry[T], e *Entry[T]) {
	if e.next == e {
		*head = nil
	} else {
		e.prev.next, e.next.prev = e.next, e.prev
		if *head == e {
			*head = e.next
		}
	}
	e.next, e.prev = nil, nil
}
