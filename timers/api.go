// Package timers has the five deadline rules of a peer and the wheel that holds one deadline per peer.
package timers

import "culvert/internal/clock"

// Time is an instant on the boot-time clock.
type Time = clock.Time

// Entry is a peer's place in a Wheel, embedded in the peer. Owner is set once.
type Entry[T any] struct{ Owner *T }

// Wheel is a hashed timing wheel. One owner.
type Wheel[T any] struct{}

func NewWheel[T any](now Time) *Wheel[T] { panic("TODO") }

// Arm sets or moves the deadline of e. O(1).
func (w *Wheel[T]) Arm(e *Entry[T], at Time) { panic("TODO") }

// Disarm takes e out, if it is in. O(1).
func (w *Wheel[T]) Disarm(e *Entry[T]) { panic("TODO") }

// Next is when Expire is to be called next; false if nothing is armed.
func (w *Wheel[T]) Next() (Time, bool) { panic("TODO") }

// Expire disarms every entry whose deadline is at or before now and calls fire
// for it. fire may arm and disarm any entry. Never fires early; late by a tick at most.
func (w *Wheel[T]) Expire(now Time, fire func(*T)) { panic("TODO") }
