package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// daemonPolicy is the one that is in force.
func daemonPolicy() *policy {
	return &policy{arch: auditArch, foreign: hasForeign, always: always, rules: rules(os.Getpid()), never: never, refusal: unix.ENOSYS}
}

// restrictCalls has the filter in force on all threads, or tells why there is none.
func restrictCalls() (in bool, why string, err error) {
	if !haveSeccomp {
		return false, "no list of system calls for " + runtime.GOARCH, nil
	}
	raw, err := bpf.Assemble(daemonPolicy().compile())
	if err != nil {
		return false, "", fmt.Errorf("confine: BUG: seccomp: %w", err)
	}
	if err := install(raw); err != nil {
		return false, "", fmt.Errorf("confine: seccomp: %w", err)
	}
	return true, "", checkCalls()
}

// install needs no_new_privs. The kernel gives the filter to all threads or, if it
// cannot, to none. We run no code that others wrote, so the kernel need not guard
// against it reading our memory by speculation, which would cost the data path
// (before Linux 5.16 it does so by itself where there is a filter).
func install(raw []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has a filter that others have not", thread)
	}
	return nil
}

// checkCalls tries some of what the daemon will do later, so that what a kernel, a
// container or a new version of Go makes of the filter is seen at the start. And it tries
// what shall be refused.
func checkCalls() error {
	var failed []error
	try := func(what string, err, want error) {
		if !errors.Is(err, want) {
			failed = append(failed, fmt.Errorf("confine: %s after seccomp: %w, not %w", what, orNil(err), orNil(want)))
		}
	}
	socket := func(family, kind int) error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
	try("a UDP socket", ignore(socket(unix.AF_INET, unix.SOCK_DGRAM), unix.EAFNOSUPPORT), nil)
	try("an IPv6 UDP socket", ignore(socket(unix.AF_INET6, unix.SOCK_DGRAM), unix.EAFNOSUPPORT), nil)
	try("a netlink socket", ignore(socket(unix.AF_NETLINK, unix.SOCK_RAW), unix.EAFNOSUPPORT), nil)
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	try("memory", err, nil)
	if err == nil {
		try("executable memory", unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC), unix.EPERM)
		try("giving memory back", unix.Munmap(page), nil)
	}
	try("a raw socket", socket(unix.AF_PACKET, unix.SOCK_RAW), unix.EPERM)
	try("setns", unix.Setns(-1, unix.CLONE_NEWNET), unix.ENOSYS)
	return errors.Join(failed...)
}

// ignore is err, or nil where the kernel lacks what is tried.
func ignore(err, lacks error) error {
	if errors.Is(err, lacks) {
		return nil
	}
	return err
}

// orNil makes a nil error one that can be printed.
func orNil(err error) error {
	if err == nil {
		return errors.New("done")
	}
	return err
}
