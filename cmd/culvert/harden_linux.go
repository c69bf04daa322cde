package main

import "golang.org/x/sys/unix"

// harden keeps keys out of core dumps, and other processes of the same user
// (without CAP_SYS_PTRACE) from reading this one's memory. Neither call can
// fail with these arguments, and the daemon would run all the same. It is for the beginning, before any key can come: of the
// process in the background, too, as execve(2) undoes it. So does becoming another user, which package confine mends.
func harden() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
