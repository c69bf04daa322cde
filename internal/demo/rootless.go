//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// insideVar marks the copy of this program that is root in a user namespace.
const insideVar = "CULVERT_DEMO_INSIDE"

func rootless() bool { return os.Getenv(insideVar) != "" }

// withoutRoot runs this program again as root of a user namespace of its own
// and returns its exit status.
func withoutRoot() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	// What the go command builds it must build outside: there it has its cache.
	dir, err := os.MkdirTemp("", "culvert-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Getenv("CULVERT") == "" {
		step("building the daemon")
		p, err := nstest.Culvert(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			return 1
		}
		os.Setenv("CULVERT", p.Args[0])
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM // it cleans up even if this process is killed
	runtime.LockOSThread()                      // the death of this thread counts
	step("not root: going on as root of a user namespace")
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: no permission to make a user namespace (%v): run it as root, or allow user namespaces "+
			"(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)\n", err)
		return 1
	}
	forward(cmd.Process)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

// forward hands the signals that ask for an end to the copy, which cleans up.
func forward(p *os.Process) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() { // ends with this process
		for s := range stop {
			p.Signal(s)
		}
	}()
}

// privateSockets gives a rootless demonstration a directory for UAPI sockets:
// the real one belongs to root. This process has a mount namespace of its own.
func privateSockets() error {
	if !rootless() {
		return nil
	}
	run, err := filepath.EvalSymlinks(filepath.Dir(nstest.SocketDir)) // /var/run is a link
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("no permission to change mounts in a user namespace: %w: run it as root", err)
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("no permission to mount a tmpfs on %s: %w: run it as root", run, err)
	}
	return os.Mkdir(filepath.Join(run, "wireguard"), 0o700)
}
