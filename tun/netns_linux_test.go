package tun_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace without a name. It belongs to a thread that
// runs what it is given and ends with the test; then the namespace goes too.
type netns struct {
	work chan func()
	path string
	end  func() // ends it before the test does
}

func newNetns(t *testing.T) *netns {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace and a TUN interface in it")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun: ", err)
	}
	n := &netns{work: make(chan func())}
	ready := make(chan error)
	done := make(chan struct{})
	go func() { // ends when the test does; its thread, never unlocked, with it
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- err
			return
		}
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- nil
		for f := range n.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skip("cannot make a network namespace: ", err)
	}
	n.end = sync.OnceFunc(func() { close(n.work); <-done })
	t.Cleanup(n.end)
	n.ip(t, "link set lo up")
	return n
}

// do runs f in the namespace.
func (n *netns) do(t *testing.T, f func() error) {
	t.Helper()
	result := make(chan error)
	n.work <- func() { result <- f() }
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) in the namespace.
func (n *netns) ip(t *testing.T, command string) string {
	t.Helper()
	var out []byte
	n.do(t, func() (err error) {
		out, err = exec.Command("ip", strings.Fields(command)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
		return err
	})
	return string(out)
}
