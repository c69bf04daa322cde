package noise

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimestampTable(t *testing.T) {
	for _, c := range []struct {
		sec, nsec int64
		want      string
	}{
		{0, 0, "400000000000000a00000000"},
		{0, 1<<24 - 1, "400000000000000a00000000"},
		{0, 1 << 24, "400000000000000a01000000"},
		{0, 999_999_999, "400000000000000a3b000000"},
		{-11, 0, "3fffffffffffffff00000000"},
		{1_700_000_000, 500_000_000, "400000006553f10a1d000000"},
		{1 << 33, 7, "400000020000000a00000000"},
	} {
		got := NewTimestamp(time.Unix(c.sec, c.nsec))
		if hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%d.%09d: %x, want %s", c.sec, c.nsec, got, c.want)
		}
		back := got.Time()
		if late := time.Unix(c.sec, c.nsec).Sub(back); late < 0 || late >= 1<<24 {
			t.Errorf("%d.%09d: comes back %v earlier", c.sec, c.nsec, late)
		}
	}
}

func whitened(t Timestamp) bool {
	_, nsec := t.fields()
	return nsec%(1<<24) == 0 && nsec < 1e9
}

func TestTimestampLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		at := time.Unix(r.Int64N(1<<34), r.Int64N(1e9))
		later := at.Add(time.Duration(r.Int64N(1 << 26)))
		a, b := NewTimestamp(at), NewTimestamp(later)
		if a.After(b) {
			t.Fatalf("%v is after %v", at, later)
		}
		if !whitened(a) {
			t.Fatalf("%x is not whitened", a)
		}
		if later.Sub(at) >= 1<<24 && !b.After(a) {
			t.Fatalf("%v and %v have one label", at, later)
		}
		if a.After(a) {
			t.Fatal("a label is after itself")
		}

		// Next is the least: no whitened label lies between, for any label.
		u := a
		if r.IntN(2) == 0 { // as a foreign implementation may send it
			u = label(r.Uint64()>>1, uint64(r.Uint32()))
		}
		n := u.Next()
		if !n.After(u) || !whitened(n) {
			t.Fatalf("%x: next is %x", u, n)
		}
		sec, nsec := n.fields()
		before := label(sec, nsec-1<<24)
		if nsec == 0 {
			before = label(sec-1, 59<<24) // the last of a second
		}
		if before.After(u) {
			t.Fatalf("%x: next is %x, but %x is less", u, n, before)
		}
	}
}

func TestTimestampComparesSecondsFirst(t *testing.T) {
	a, b := label(5, 0xff000000), label(6, 0)
	if !b.After(a) || a.After(b) {
		t.Error("nanoseconds outweigh seconds")
	}
}
