//go:build amd64 || arm64

package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashVar names a way to end of a confined process.
const crashVar = "CONFINE_CRASH"

// crashes are ways to end, and what is to be seen of them.
var crashes = []struct {
	name   string
	do     func()
	traced string         // how much GOTRACEBACK shows
	says   []string       // on standard error
	signal syscall.Signal // it ends with, else with status 2
}{
	{"panic", func() { go panic("here it ends"); select {} }, "single", []string{"panic: here it ends", "goroutine ", "crash_linux_test.go"}, 0},
	{"nil pointer", func() { var p *int; fmt.Println(*p) }, "single", []string{"nil pointer dereference", "SIGSEGV", "crash_linux_test.go"}, 0},
	{"all threads", func() { panic("here it ends") }, "crash", []string{"panic: here it ends", "crash_linux_test.go"}, syscall.SIGABRT},
	{"SIGQUIT", func() { time.Sleep(time.Hour) }, "all", []string{"SIGQUIT: quit", "crash_linux_test.go"}, 0},
}

func crash(name string) {
	if _, err := Apply(Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, c := range crashes {
		if c.name == name {
			fmt.Println("confined")
			c.do()
		}
	}
	os.Exit(1)
}

// A program that fails says where, as it does when it is not confined.
func TestCrashesAreTold(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), crashVar+"="+c.name, "GOTRACEBACK="+c.traced)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fscanln(out, new(string)); err != nil {
				t.Errorf("it is not confined: %v", err)
			}
			if c.name == "SIGQUIT" {
				_ = cmd.Process.Signal(syscall.SIGQUIT)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) {
				t.Fatal(err)
			}
			status := exit.Sys().(syscall.WaitStatus)
			if c.signal != 0 && status.Signal() != c.signal || c.signal == 0 && status.ExitStatus() != 2 {
				t.Errorf("it ends with %v", exit)
			}
			for _, s := range c.says {
				if !strings.Contains(stderr.String(), s) {
					t.Errorf("it does not say %q: %s", s, stderr.String())
				}
			}
		})
	}
}
