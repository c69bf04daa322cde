//go:build linux

package memscan

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// secret makes a key at random and gives its needles, and f of the key in memory of its own.
func secret(f func([]byte) []byte) ([]Needle, []byte) {
	var key [32]byte
	rand.Read(key[:])
	defer clear(key[:])
	return Key("key", &key), f(key[:])
}

// names are those of the needles that were hit.
func names(t *testing.T, needles []Needle) map[string]bool {
	t.Helper()
	hits, err := Scan(os.Getpid(), needles)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, h := range hits {
		found[h.Needle] = true
		if !strings.Contains(h.String(), "rw") {
			t.Errorf("in memory that nobody writes: %v", h)
		}
	}
	return found
}

// Every form of a key is found where it is, halves by themselves, and nothing where it was: the
// search finds neither itself nor what an earlier one has read.
func TestScanSelf(t *testing.T) {
	for name, c := range map[string]struct {
		make func(key []byte) []byte
		hits []string
	}{
		"raw":         {bytes.Clone, []string{"first half", "second half"}},
		"first half":  {func(k []byte) []byte { return bytes.Clone(k[:16]) }, []string{"first half"}},
		"second half": {func(k []byte) []byte { return bytes.Clone(k[16:]) }, []string{"second half"}},
		"hexadecimal": {func(k []byte) []byte { return hex.AppendEncode(nil, k) }, []string{"first half in hexadecimal", "second half in hexadecimal"}},
		"base64":      {func(k []byte) []byte { return base64.StdEncoding.AppendEncode(nil, k) }, []string{"first half in base64", "second half in base64"}},
		"nothing":     {func([]byte) []byte { return nil }, nil},
	} {
		needles, b := secret(c.make)
		runtime.GC() // of what made the key, unused stacks and the like are not wiped
		wipeStack()
		for range 2 {
			found := names(t, needles)
			if len(found) != len(c.hits) {
				t.Errorf("%s: found %v", name, found)
			}
			for _, h := range c.hits {
				if !found["key, "+h] {
					t.Errorf("%s: %s is not found", name, h)
				}
			}
		}
		clear(b)
		if found := names(t, needles); len(found) > 0 {
			t.Errorf("%s: found after it was wiped: %v", name, found)
		}
	}
}

// Making needles leaves nothing of the key, whenever the collector moves the stack to a smaller one, as it does with
// all of which little is used.
func TestKeyLeavesNothing(t *testing.T) {
	needles, b := secret(bytes.Clone)
	done := make(chan bool)
	go func() {
		for range 300 {
			runtime.GC()
		}
		close(done)
	}()
	for running := true; running; {
		wipeStack() // which makes it grow
		for range 1000 {
			Key("again", (*[32]byte)(b))
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	clear(b)
	if found := names(t, needles); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// wipeStack overwrites what calls before have left below.
//
//go:noinline
func wipeStack() byte {
	var b [16 << 10]byte
	for i := range b {
		b[i] = byte(i)
	}
	return b[len(os.Args)]
}

// What lies across the boundary of two chunks is found, too. (Mappings of Go's heap begin at a multiple of chunk.)
func TestScanAcrossChunks(t *testing.T) {
	b := make([]byte, 2*chunk)
	boundary := int(-uintptr(unsafe.Pointer(&b[0])) & (chunk - 1))
	for _, before := range []int{-1, 0, 1, 7, 15, 16} {
		if boundary < before {
			boundary += chunk
		}
		needles, _ := secret(func(k []byte) []byte { copy(b[boundary-before:], k[:16]); return nil })
		if len(names(t, needles[:1])) != 1 {
			t.Errorf("not found %d bytes before the boundary", before)
		}
		clear(b)
	}
}

func TestScanNobody(t *testing.T) {
	if _, err := Scan(1<<30, nil); err == nil {
		t.Error("no error for a process that is not there")
	}
}
