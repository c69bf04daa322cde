// Package ratelimiter: per-source token buckets and the under-load detector, both bounded and pure.
package ratelimiter

import (
	"net/netip"

	"culvert/internal/clock"
)

// Limiter holds a token bucket per source (IPv4 /32, IPv6 /64): 20/s, burst 5. One owner.
type Limiter struct{}

func New() *Limiter { panic("TODO") }

// Allow takes a token of src. False: none left, or the table is full.
func (l *Limiter) Allow(now clock.Time, src netip.Addr) bool { panic("TODO") }

// Load is the under-load detector. The zero value is not under load.
type Load struct{}

// Note records the handshake queue's length; at capacity/8 or more the device is under load until 1 s after.
func (l *Load) Note(now clock.Time, queued, capacity int) { panic("TODO") }
func (l *Load) Under(now clock.Time) bool                 { panic("TODO") }
