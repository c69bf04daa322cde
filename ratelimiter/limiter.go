// Package ratelimiter decides, while a device is under load, from which
// sources handshake messages are still worth a Diffie-Hellman: a token bucket
// per source, and the detector of load. It is pure: no clock, no lock, no
// goroutine; "now" is passed in and everything has one owner.
package ratelimiter

import (
	"encoding/binary"
	"net/netip"
	"time"

	"culvert/internal/clock"
)

// The figures of the kernel (ratelimiter.c), but for the table's size.
const (
	PerSecond  = 20      // tokens a bucket gains per second
	Burst      = 5       // tokens a bucket holds
	MaxSources = 1 << 15 // sources that have a bucket at one time

	cost = clock.Time(time.Second / PerSecond) // of one token, in time
	idle = clock.Time(time.Second)             // a source unseen for that long loses its bucket
)

// Limiter holds a token bucket per source (IPv4 /32, IPv6 /64): 20/s, burst 5.
// At most MaxSources have one; they take 2 MiB then, and nothing is kept
// of them once all have been idle. One owner.
type Limiter struct {
	index   map[source]int32 // place in buckets
	buckets []bucket         // 0 is the list's anchor, then in use or free
	free    int32            // head of the free ones, by next; 0: none
	max     int              // MaxSources, less in tests

	empty, full uint64
}

// bucket is one source. The buckets in use form a ring through the anchor, the longest idle first.
type bucket struct {
	source     source
	refilled   clock.Time // when it holds Burst tokens again; every token spent moves it on by cost
	seen       clock.Time // last asked for, also if refused
	next, prev int32
}

// New makes a limiter that has seen nobody.
func New() *Limiter { return newLimiter(MaxSources) }

func newLimiter(limit int) *Limiter {
	l := &Limiter{max: limit}
	l.reset()
	return l
}

// Allow takes a token of src. False: none left, or src is new and the table is full.
// now may lag a little behind an earlier call's (workers that read the clock before they
// take the lock): what that costs is less than the lag. Amortised constant time.
func (l *Limiter) Allow(now clock.Time, src netip.Addr) bool {
	l.collect(now)
	b := l.bucket(sourceOf(src))
	if b == nil {
		l.full++
		return false
	}
	b.seen = now
	refilled := max(b.refilled, now) + cost
	if refilled > now+Burst*cost {
		l.empty++
		return false
	}
	b.refilled = refilled
	return true
}

// Refused is how many calls of Allow found no token left, and how many a
// table without room for another source.
func (l *Limiter) Refused() (empty, full uint64) { return l.empty, l.full }

// Sources is how many sources have a bucket now.
func (l *Limiter) Sources() int { return len(l.index) }

// bucket is the bucket of s, moved to the end of the ring, made if need be; nil if the
// table is full.
func (l *Limiter) bucket(s source) *bucket {
	i, ok := l.index[s]
	switch {
	case ok:
		l.unlink(i)
	case len(l.index) >= l.max:
		return nil
	default:
		i = l.take()
		l.buckets[i] = bucket{source: s}
		l.index[s] = i
	}
	l.append(i)
	return &l.buckets[i]
}

// collect frees what has been idle for a second: by then it is full, so
// that a new bucket is as good. A call pays for the buckets it frees only.
func (l *Limiter) collect(now clock.Time) {
	for {
		i := l.buckets[0].next
		if i == 0 || now-l.buckets[i].seen < idle {
			return
		}
		l.unlink(i)
		delete(l.index, l.buckets[i].source)
		l.buckets[i].next, l.free = l.free, i
		if len(l.index) == 0 {
			l.reset() // an attack is over: give its memory back
			return
		}
	}
}

func (l *Limiter) reset() {
	l.index = make(map[source]int32)
	l.buckets = make([]bucket, 1)
	l.free = 0
}

// take gives the place of a bucket that is not in use.
func (l *Limiter) take() int32 {
	if i := l.free; i != 0 {
		l.free = l.buckets[i].next
		return i
	}
	l.buckets = append(l.buckets, bucket{})
	return int32(len(l.buckets) - 1)
}

func (l *Limiter) unlink(i int32) {
	b := &l.buckets[i]
	l.buckets[b.prev].next, l.buckets[b.next].prev = b.next, b.prev
}

func (l *Limiter) append(i int32) {
	last := l.buckets[0].prev
	l.buckets[i].prev, l.buckets[i].next = last, 0
	l.buckets[last].next, l.buckets[0].prev = i, i
}

// source is what shares a bucket: an IPv6 /64 by its upper 64 bits, an IPv4 address below
// ff00::, a multicast prefix no packet comes from.
type source uint64

func sourceOf(a netip.Addr) source {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return 0xff<<56 | source(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return source(binary.BigEndian.Uint64(b[:]))
}
