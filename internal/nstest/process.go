//go:build linux

package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runTime is how long a command of Run may take.
const runTime = 30 * time.Second

// Command is what Start runs.
type Command struct {
	Args  []string
	Env   []string // added to this process's environment without WG_* and LOG_LEVEL
	Stdin string
	// Files become descriptors 3, 4 and so on. They stay the caller's.
	Files []*os.File
	// SysProcAttr is taken as it is if set, except for the fields the kit needs.
	SysProcAttr *syscall.SysProcAttr
}

// Process is a running or ended process. Safe for concurrent use.
type Process struct {
	PID int

	name           string
	cmd            *exec.Cmd
	stdout, stderr string        // files: a daemon left behind may keep on writing
	done           chan struct{} // closed when it has ended and err is set
	err            error
}

// Start starts a command in the namespace. It gets a process group of its own
// and SIGTERM when this process dies.
func (n *NS) Start(c Command) (*Process, error) {
	p := &Process{name: filepath.Base(c.Args[0]), done: make(chan struct{})}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append(environ(), c.Env...)
	cmd.Env = append(cmd.Env, markVar+"="+n.lab.mark)
	cmd.ExtraFiles = c.Files
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	out, err := os.CreateTemp(n.lab.Dir, p.name+"-out-")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errs, err := os.CreateTemp(n.lab.Dir, p.name+"-err-")
	if err != nil {
		return nil, err
	}
	defer errs.Close()
	p.stdout, p.stderr, cmd.Stdout, cmd.Stderr = out.Name(), errs.Name(), out, errs
	cmd.SysProcAttr = c.SysProcAttr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	p.cmd = cmd

	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if n.lab.closed {
		return nil, errors.New("the lab is closed")
	}
	if err := n.launch(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	p.PID = cmd.Process.Pid
	n.lab.processes = append(n.lab.processes, p)
	go func() { // ends with the process, which Close ends
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// launches are done by one thread that lives as long as this process: what it
// started gets its SIGTERM when the thread that started it ends, and threads end,
// with the goroutines that were locked to them.
var launches = sync.OnceValue(func() chan<- func() {
	todo := make(chan func())
	go func() { // ends with this process
		runtime.LockOSThread()
		for f := range todo {
			f()
		}
	}()
	return todo
})

// launch runs start inside the namespace.
func (n *NS) launch(start func() error) error {
	done := make(chan error, 1)
	launches() <- func() {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", n.Label, err)
			return
		}
		done <- start()
	}
	return <-done
}

// environ is our environment without what steers WireGuard daemons.
func environ() (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "WG_") && !strings.HasPrefix(e, "LOG_LEVEL=") {
			env = append(env, e)
		}
	}
	return env
}

// Stdout is what the process has written to its standard output so far.
func (p *Process) Stdout() string { return read(p.stdout) }

// Stderr is what the process has written to its standard error so far.
func (p *Process) Stderr() string { return read(p.stderr) }

func read(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive reports whether the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the process to end. The error is its exit status, with its
// standard error, or says that the time was over.
func (p *Process) Wait(within time.Duration) error {
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case <-p.done:
	case <-over.C:
		if p.Alive() { // both may be ready
			return fmt.Errorf("%s: still running after %v", p.name, within)
		}
	}
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(p.cmd.Args, " "), p.err, strings.TrimSpace(p.Stderr()))
}

// Signal sends a signal; a process that has ended gets none.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *Process) terminate() {
	if p.Alive() {
		p.Signal(syscall.SIGTERM)
		p.Signal(syscall.SIGCONT) // in case somebody stopped it
	}
}

// Stop ends the process with SIGTERM, after 5 s with SIGKILL; the latter is an
// error. Its exit status is not.
func (p *Process) Stop() error {
	p.terminate()
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case <-p.done:
		return nil
	case <-over.C:
	}
	p.Signal(syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s (%d): did not end within %v of SIGTERM", p.name, p.PID, patience)
}

// Run runs a command in the namespace to its end (at most 30 s) and
// returns its standard output. The error holds the standard error.
func (n *NS) Run(args ...string) (string, error) { return n.RunCommand(Command{Args: args}) }

// RunInput is Run with standard input.
func (n *NS) RunInput(stdin string, args ...string) (string, error) {
	return n.RunCommand(Command{Args: args, Stdin: stdin})
}

// RunCommand is Run for a command that needs more than arguments.
func (n *NS) RunCommand(c Command) (string, error) {
	p, err := n.Start(c)
	if err != nil {
		return "", err
	}
	if err := p.Wait(runTime); err != nil {
		return p.Stdout(), errors.Join(err, p.Stop())
	}
	return p.Stdout(), nil
}
