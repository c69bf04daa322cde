// Package offload remembers what a kernel refused to do in one go: the part
// of the governors of sockets and TUN interfaces that is the same for both.
//
// An offload is off for good (an option, a kernel that lacks it or has a known
// fault), or since a refusal. What was refused is left alone for Retry and then
// tried again, so that a route, a card or an MTU that is another one by now
// has its chance; where nothing has changed this costs one refused system
// call, whose data goes unbatched at once.
package offload

import (
	"sync/atomic"
	"time"
)

// Retry is how long what was refused is not tried again.
const Retry = time.Minute

// Words for State.Why beside names of errors (EIO).
const (
	Option      = "option"        // the user wants it off
	Unsupported = "unsupported"   // the kernel does not have it
	Broken      = "broken_kernel" // the kernel is known to damage data this way
)

// State is what a status shows of one offload.
type State struct {
	Where string `json:"where"`        // udp4, udp6 (udp4.1: of more sockets), tun
	Name  string `json:"name"`         // gso, gro, read_tso, ...
	To    string `json:"to,omitempty"` // the one destination it is about; empty: all
	On    bool   `json:"on"`
	// Why it is off: one of the words above, or the name of the error that it
	// was refused with.
	Why string `json:"why,omitempty"`
	// Since is when it was first refused; zero when it never was on.
	Since time.Time `json:"since,omitzero"`
}

// String is s for people: "udp4 gso to 192.0.2.1: off since TIME (EMSGSIZE)".
func (s State) String() string {
	name := s.Where + " " + s.Name
	if s.To != "" {
		name += " to " + s.To
	}
	switch {
	case s.On:
		return name + ": on"
	case s.Since.IsZero():
		return name + ": off (" + s.Why + ")"
	}
	return name + ": off since " + s.Since.Format(time.RFC3339) + " (" + s.Why + ")"
}

// Refusal is what is remembered of one. The zero value never happened.
type Refusal struct {
	Why          string
	Since, Until time.Time
}

// Holds reports whether not to try now.
func (r Refusal) Holds(now time.Time) bool { return now.Before(r.Until) }

// Forgotten reports whether so long has passed that a refusal is a new one.
func (r Refusal) Forgotten(now time.Time) bool { return !now.Before(r.Until.Add(Retry)) }

// Again is the refusal that follows r.
func (r Refusal) Again(why string, now time.Time) Refusal {
	since := r.Since
	if r.Forgotten(now) {
		since = now
	}
	return Refusal{Why: why, Since: since, Until: now.Add(Retry)}
}

// State is r as a status shows it.
func (r Refusal) State(where, name string) State {
	return State{Where: where, Name: name, Why: r.Why, Since: r.Since.UTC().Truncate(time.Second)}
}

// Switch is one offload. The zero value is on. All methods but Forbid may be
// called by any goroutine.
type Switch struct {
	never   string // why it is off for good; empty: it is not
	refused atomic.Pointer[Refusal]
}

// Forbid turns it off for good. It is called before anybody else knows s.
func (s *Switch) Forbid(why string) { s.never = why }

// On reports whether to use it. The clock is read only after a refusal.
func (s *Switch) On() bool {
	if s.never != "" {
		return false
	}
	r := s.refused.Load()
	if r == nil {
		return true
	}
	now := time.Now()
	if r.Forgotten(now) {
		s.refused.CompareAndSwap(r, nil)
	}
	return !r.Holds(now)
}

// Refuse notes that the kernel refused it, and reports whether that is new:
// not what came of trying again.
func (s *Switch) Refuse(why string) (first bool) {
	now := time.Now()
	var old Refusal
	if r := s.refused.Load(); r != nil {
		old = *r
	}
	fresh := old.Again(why, now)
	s.refused.Store(&fresh)
	return fresh.Since.Equal(now)
}

// Forgive forgets a refusal: what it was due to may have changed.
func (s *Switch) Forgive() { s.refused.Store(nil) }

// State is s as a status shows it.
func (s *Switch) State(where, name string) State {
	if s.never != "" {
		return State{Where: where, Name: name, Why: s.never}
	}
	if r := s.refused.Load(); r != nil && r.Holds(time.Now()) {
		return r.State(where, name)
	}
	return State{Where: where, Name: name, On: true}
}
