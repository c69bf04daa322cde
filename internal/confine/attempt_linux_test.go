package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An attempt is made by a process of its own, since it may end the process, on a
// thread that was there before it was confined and on one that came later; and by
// one that is not confined, to show that the attempt is worth something.

const (
	attemptVar = "CONFINE_ATTEMPT" // its name
	planVar    = "CONFINE_PLAN"    // a plan, as JSON
)

// plan is what such a process is told.
type plan struct {
	Confine bool
	Options Options
	Dir     string // to be used as it likes
	Victim  int    // a process that waits, to be done to what can be done
}

// outcomes of attempts beside the names of errors.
const (
	done   = "done"
	killed = "killed" // by the filter, with SIGSYS
)

// attemptAndExit makes the attempt on both threads and prints an outcome for each.
func attemptAndExit(name string) {
	var p plan
	if err := json.Unmarshal([]byte(os.Getenv(planVar)), &p); err != nil {
		panic(err)
	}
	early := startThread()
	if p.Confine {
		if _, err := Apply(p.Options); err != nil {
			fmt.Println("Apply:", err)
			os.Exit(1)
		}
	}
	for _, on := range []*thread{early, startThread()} {
		fmt.Println(outcome(on.do(func() error { return attempts[name](p) })))
	}
	os.Exit(0)
}

func outcome(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return done
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// thread does what it is given; it lives as long as the process.
type thread struct {
	work   chan func() error
	result chan error
}

func startThread() *thread {
	t := &thread{make(chan func() error), make(chan error)}
	go func() { // ends with the process
		runtime.LockOSThread()
		for f := range t.work {
			t.result <- f()
		}
	}()
	t.do(func() error { return nil }) // it has its thread
	return t
}

func (t *thread) do(f func() error) error {
	t.work <- f
	return <-t.result
}

// try runs an attempt in a process of its own, and gives both outcomes, which are one
// where the process did not come to the second.
func try(t *testing.T, name string, p plan) []string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), attemptVar+"="+name, planVar+"="+string(text))
	cmd.Stderr = os.Stderr
	// What it does to its namespaces is undone by its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	out, err := cmd.Output()
	got := strings.Fields(string(out))
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGSYS:
		return append(got, killed)
	case err != nil:
		t.Fatalf("%s: %v: %q", name, err, out)
	}
	return got
}

// startVictim starts a process that waits.
func startVictim(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// needRoot skips where nothing could be seen to be given up.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: what is there to give up else")
	}
}
