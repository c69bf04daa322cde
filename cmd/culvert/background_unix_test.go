//go:build unix

package main

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A descriptor that is no pipe is not the parent's, and nothing is written to it.
func TestAdoptWantsAPipe(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd())) // adopt's to close
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{fd, 1 << 20} { // the latter is closed
		t.Setenv(childEnv, strconv.Itoa(fd)+",-1,-1")
		o := options{TunFD: 7, UAPIFD: 8}
		if p, err := adopt(&o); err == nil || p != nil || o.TunFD != 7 || o.UAPIFD != 8 {
			t.Errorf("descriptor %d: %v, %v, %+v", fd, p, err, o)
		}
		if os.Getenv(childEnv) != "" {
			t.Error("the variable is handed on")
		}
	}
}
