//go:build !race

package pages

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident is this process's resident memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return n * os.Getpagesize()
}

// Memory costs nothing until it is touched, and nothing once it is freed.
func TestResident(t *testing.T) {
	const size, slack = 64 << 20, 16 << 20
	before := resident(t)
	b := Get(size)
	if len(b) != size {
		t.Fatalf("%d bytes", len(b))
	}
	if n := resident(t) - before; n > slack {
		t.Errorf("%d bytes are resident before any is touched", n)
	}
	b[size/2] = 1
	if n := resident(t) - before; n > slack {
		t.Errorf("%d bytes are resident after one was touched", n)
	}
	for i := range b {
		b[i] |= 2
	}
	if n := resident(t) - before; n < size {
		t.Errorf("%d bytes are resident, not %d: the test tests nothing", n, size)
	}
	Free(b)
	if n := resident(t) - before; n > slack {
		t.Errorf("%d bytes are resident after all were freed", n)
	}
}

// What the system does not have is not given, and that is all.
func TestNone(t *testing.T) {
	if b := Get(math.MaxInt / 2); b != nil {
		t.Error("2^60 bytes")
	}
}
