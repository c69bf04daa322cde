package noise

import (
	"bytes"
	"encoding/binary"
	"time"
)

const (
	timestampSize = 12
	// taiBase is second 0 of Unix time as a TAI64 label: 2^62, and the 10
	// seconds TAI was ahead in 1970 (cr.yp.to/libtai/tai64.html). Leap seconds are ignored, as
	// the kernel does. (boringtun adds 37 and so is 27 s ahead of us.)
	taiBase = 1<<62 + 10
	// whiten is the granularity of labels in nanoseconds: finer ones would tell
	// how long our machine takes for things (the kernel's INITIATIONS_PER_SECOND of 50 rounded
	// up to a power of two).
	whiten = 1 << 24
)

// Timestamp is a TAI64N label, big-endian: 8 bytes of seconds, 4 of nanoseconds.
// Labels compare as byte strings. Our own are whitened: the nanoseconds are a multiple of 2^24 (16.8 ms).
type Timestamp [timestampSize]byte

// NewTimestamp is the whitened label of t.
func NewTimestamp(t time.Time) Timestamp {
	return label(uint64(t.Unix())+taiBase, uint64(t.Nanosecond())&^(whiten-1))
}

func label(sec, nsec uint64) (t Timestamp) {
	binary.BigEndian.PutUint64(t[:], sec)
	binary.BigEndian.PutUint32(t[8:], uint32(nsec))
	return t
}

func (t *Timestamp) fields() (sec, nsec uint64) {
	return binary.BigEndian.Uint64(t[:]), uint64(binary.BigEndian.Uint32(t[8:]))
}

// Valid reports whether t is a label at all: seconds from 2^63 on are reserved and
// nanoseconds end at 999,999,999 (cr.yp.to/libtai/tai64.html). What a peer sends is only compared and
// need not be one.
func (t Timestamp) Valid() bool {
	sec, nsec := t.fields()
	return sec < 1<<63 && nsec < uint64(time.Second)
}

// After reports whether t is strictly newer than u.
func (t Timestamp) After(u Timestamp) bool { return bytes.Compare(t[:], u[:]) > 0 }

// Next is the least whitened label after t. (After the last second a label can
// name, 2^64-1, there is none: the result starts over.)
func (t Timestamp) Next() Timestamp {
	sec, nsec := t.fields()
	nsec = nsec&^(whiten-1) + whiten
	if nsec >= uint64(time.Second) {
		sec, nsec = sec+1, 0
	}
	return label(sec, nsec)
}

// Time is the instant t names, for logs.
func (t Timestamp) Time() time.Time {
	sec, nsec := t.fields()
	return time.Unix(int64(sec-taiBase), int64(nsec))
}
