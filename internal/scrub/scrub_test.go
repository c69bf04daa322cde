package scrub

import (
	"runtime"
	"testing"
	"unsafe"
)

// What a call leaves on the stack is gone afterwards, as deep as is promised. (What the test looks at is the memory
// below its own frame, which no pointer should lead to: so nothing else may be called in between.)
func TestOverwrites(t *testing.T) {
	for name, c := range map[string]struct {
		scrub func()
		size  uintptr
	}{
		"deep": {Deep, deep}, "shallow": {Shallow, shallow}, "not at all": {func() {}, 0},
	} {
		for _, at := range []uintptr{shallow - 128, deep - 128} {
			done := make(chan bool)
			go Run(func() { done <- survives(c.scrub, at) })
			if got, want := <-done, at > c.size; got != want {
				t.Errorf("%s: %d bytes below, a byte is left: %v, want %v", name, at, got, want)
			}
		}
	}
}

// survives reports whether a byte written so far below the stack pointer is there after scrub.
//
//go:noinline
//go:nocheckptr
func survives(scrub func(), below uintptr) bool {
	var here byte
	write(below)
	scrub()
	return *(*byte)(unsafe.Add(unsafe.Pointer(&here), -int(below))) == 0x5a
}

// write has as much on the stack as is used there.
//
//go:noinline
func write(below uintptr) {
	var b [reserve - 512]byte
	use(&b[0])
	for i := range b {
		b[i] = 0x5a
	}
	use(&b[0])
}

// The stack stays where it is: while f runs, and Deep, and the collector looks.
func TestStackStays(t *testing.T) {
	done := make(chan bool)
	go Run(func() {
		var here byte
		before := uintptr(unsafe.Pointer(&here))
		for range 3 {
			Deep()
			runtime.GC()
		}
		done <- uintptr(unsafe.Pointer(&here)) == before
	})
	if !<-done {
		t.Error("it was moved")
	}
}

func BenchmarkDeep(b *testing.B) {
	for b.Loop() {
		Deep()
	}
}

func BenchmarkShallow(b *testing.B) {
	for b.Loop() {
		Shallow()
	}
}
