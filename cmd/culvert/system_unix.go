//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifySignals gives the signals that end the process, those that cycle the
// log level (SIGUSR1) and those that ask for the counters (SIGUSR2). SIGHUP, the end of
// the terminal, would end it anyway, and leave the socket's file; nohup(1) has it ignored.
func notifySignals() (end, cycle, status <-chan os.Signal) {
	e, c, s := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(e, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(e, syscall.SIGHUP)
	}
	signal.Notify(c, syscall.SIGUSR1)
	signal.Notify(s, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go; the tunnel stays
	return e, c, s
}

// owned reports whether a file is a user's.
func owned(f *os.File, uid int) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == uint32(uid)
}

// closedTo reports whether dir is another user's who lets nobody in. (Where there is an
// access control list the group's bits are the most that it gives.)
func closedTo(dir string, uid int) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid != uint32(uid) && info.Mode().Perm()&0o011 == 0
}

// ownSession keeps signals meant for the parent's terminal from the child.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// keepFromChild marks what was inherited, so that the child has nothing but
// what is handed to it: somebody may wait for the end of a pipe.
func keepFromChild() {
	for fd := 3; fd < 1024; fd++ {
		syscall.CloseOnExec(fd) // most are not open, which does no harm
	}
}

// isOpen reports whether a descriptor is open.
func isOpen(fd int) bool {
	var info syscall.Stat_t
	return syscall.Fstat(fd, &info) != syscall.EBADF
}
