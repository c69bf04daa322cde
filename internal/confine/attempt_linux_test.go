//go:build amd64 || arm64

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

// Attempts are made by a process of their own, on a thread that was there before it
// was confined and on one that came later; and by one that is not confined, to show
// that they are worth something. Those that end the process have one each.

const planVar = "CONFINE_PLAN" // a plan, as JSON

// plan is what such a process is told.
type plan struct {
	Names   []string // of attempts, in their order
	Confine bool
	Options Options
	Dir     string  // to be used as it likes
	Victim  int     // a process that waits, to be done to what can be done
	Address uintptr // of it that can be read
	// Namespace is a descriptor of the process's own network namespace, opened by it.
	Namespace int `json:"-"`
}

// outcomes of attempts beside the names of errors.
const (
	done   = "done"
	killed = "killed" // by the filter, with SIGSYS
)

// attemptAndExit makes the attempts on both threads and prints a line for each:
// its outcomes, as far as it comes, and its name.
func attemptAndExit(text string) {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	var err error
	if p.Namespace, err = unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		panic(err)
	}
	early := startThread()
	if p.Confine {
		if _, err := Apply(p.Options); err != nil {
			fmt.Println("Apply:", err)
			os.Exit(1)
		}
	}
	late := startThread()
	for _, name := range p.Names {
		a := find(name)
		for _, on := range []*thread{early, late} {
			fmt.Printf("%s ", outcome(on.do(func() error { return a.try(p) })))
		}
		fmt.Println(name)
	}
	os.Exit(0)
}

func find(name string) attempt {
	for _, a := range attempts {
		if a.name == name {
			return a
		}
	}
	panic("no attempt " + name)
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

// try runs attempts in a process of their own, and gives the outcomes of each: two,
// or as many as there were when it ended.
func try(t *testing.T, p plan) map[string][]string {
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
	cmd.Env = append(os.Environ(), planVar+"="+string(text))
	cmd.Stderr = os.Stderr
	// What it does to its namespaces is undone by its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: unix.SIGKILL}
	out, err := cmd.Output()
	got := map[string][]string{}
	for i, line := range strings.SplitAfter(string(out), "\n") {
		if words := strings.SplitN(line, " ", 3); len(words) == 3 && strings.HasSuffix(line, "\n") {
			got[strings.TrimSpace(words[2])] = words[:2]
		} else if i < len(p.Names) {
			got[p.Names[i]] = words[:len(words)-1]
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGSYS:
		last := p.Names[strings.Count(string(out), "\n")]
		got[last] = append(got[last], killed)
	case err != nil:
		t.Fatalf("%q: %v: %q", p.Names, err, out)
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

// namespaces are what a process that attempts has of its own.
const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// needRoot skips where nothing could be seen to be given up: also root has little in
// most containers.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: what is there to give up else")
	}
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if err := cmd.Run(); errors.Is(err, unix.EPERM) {
		t.Skip("needs to make namespaces:", err)
	}
}
