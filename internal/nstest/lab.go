//go:build linux

package nstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a process may take to end after SIGTERM.
const patience = 5 * time.Second

// Lab owns namespaces, processes and files until Close. Safe for concurrent
// use.
type Lab struct {
	// Dir is a directory for files of this lab, removed by Close.
	Dir string

	mark string // value of markVar in the environment of every process

	links atomic.Int64 // made by Join

	mu        sync.Mutex
	closed    bool
	spaces    []*NS
	processes []*Process
	names     []string
}

// open are the labs that CloseAll has to close.
var open struct {
	sync.Mutex
	labs map[*Lab]struct{}
	n    int
}

// New makes an empty lab. It needs what [Missing] looks for.
func New() (*Lab, error) {
	r, err := startRun()
	if err != nil {
		return nil, err
	}
	open.Lock()
	defer open.Unlock()
	open.n++
	l := &Lab{mark: fmt.Sprintf("%s.%d", r.mark, open.n), Dir: filepath.Join(r.dir, fmt.Sprint(open.n))}
	if err := os.Mkdir(l.Dir, 0o700); err != nil {
		return nil, err
	}
	if open.labs == nil {
		open.labs = make(map[*Lab]struct{})
	}
	open.labs[l] = struct{}{}
	return l, nil
}

// Close ends every process of the lab, also those that daemonized themselves,
// and removes its namespaces, files and UAPI sockets. The error names the
// processes that did not end within 5 s of SIGTERM and had to be killed, and those with a key in
// their output. A second call does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	processes, spaces, names := l.processes, l.spaces, l.names
	l.mu.Unlock()

	for _, p := range processes {
		p.terminate()
	}
	var errs []error
	for _, p := range processes {
		errs = append(errs, p.Stop())
	}
	errs = append(errs, sweep(l.mark))
	for _, p := range processes {
		errs = append(errs, p.leaks()...)
	}
	for _, n := range spaces {
		errs = append(errs, n.close())
	}
	for _, name := range names {
		os.Remove(SocketPath(name)) // there only if its daemon was killed
	}
	errs = append(errs, os.RemoveAll(l.Dir))
	open.Lock()
	delete(open.labs, l)
	open.Unlock()
	return errors.Join(errs...)
}

// CloseAll closes every open lab: the last thing to do on a signal.
func CloseAll() error {
	open.Lock()
	var labs []*Lab
	for l := range open.labs {
		labs = append(labs, l)
	}
	open.Unlock()
	errs := make([]error, len(labs))
	var wg sync.WaitGroup
	for i, l := range labs {
		wg.Go(func() { errs[i] = l.Close() }) // ends: Close is bounded by patience
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Name makes an interface name that is unique on the machine, at most 15
// bytes. Close removes the UAPI socket of that name if it is still there.
func (l *Lab) Name() string {
	r, _ := startRun() // New has succeeded
	name := r.name()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
	return name
}

// SocketPath is where the daemon of that interface has its UAPI socket.
func SocketPath(name string) string { return filepath.Join(SocketDir, name+".sock") }

// SocketDir holds the UAPI sockets of all namespaces.
const SocketDir = "/var/run/wireguard"
