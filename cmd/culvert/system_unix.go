//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifySignals gives the signals that end the process, and those that cycle
// the log level.
func notifySignals() (end, cycle <-chan os.Signal) {
	e, c := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(e, os.Interrupt, syscall.SIGTERM)
	signal.Notify(c, syscall.SIGUSR1)
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go; the tunnel stays
	return e, c
}

// ownSession keeps signals meant for the parent's terminal from the child.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
