//go:build amd64 || arm64

package confine

import "golang.org/x/sys/unix"

// The calls that a daemon makes once it serves, and those that Go's runtime makes
// (runtime/sys_linux_*.s, os_linux.go, internal/runtime/cgroup of Go 1.26), with the
// C library's and the race detector's for programs built with cgo. A new Go, or a
// new way of ours to do something, may need more: the tests that run the
// daemon tell, and --no-confine helps until then.
//
// What is in no list is refused with ENOSYS, as an older kernel would: who asks
// whether there is something newer goes on without it. What is there with other
// arguments is refused with EPERM. What only a program does that was taken over,
// and none to find out what there is, ends the process, so that it is tried once.

// always are allowed. The first ones are the data path's.
var always = append([]uint32{
	unix.SYS_RECVMMSG, unix.SYS_SENDMMSG, unix.SYS_READ, unix.SYS_WRITEV, unix.SYS_WRITE,
	unix.SYS_EPOLL_PWAIT, unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_EPOLL_CTL, unix.SYS_SCHED_YIELD,

	// Memory. What maps it has a rule.
	unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_MINCORE, unix.SYS_BRK,
	// Threads, signals, time. CPU time limits and profiles have timers.
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SETITIMER, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE,
	unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETRES, unix.SYS_GETRUSAGE, unix.SYS_GETRANDOM, unix.SYS_UNAME,
	// Waiting. A Go that has epoll_pwait2 may use it.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL,
	// Sockets: those there are, and new ones by a rule.
	unix.SYS_BIND, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_ACCEPT4,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN,
	// Files: which, is Landlock's. pread64 is how the runtime looks at the cgroup's share of the processors.
	unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_FSYNC, unix.SYS_NEWFSTATAT,
	unix.SYS_OPENAT, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_INOTIFY_RM_WATCH,
}, alwaysHere...)

// never end the process.
var never = append([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS, unix.SYS_CAPSET, unix.SYS_PERSONALITY,
	unix.SYS_MKNODAT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}, neverHere...)

// Flags of clone: of a thread as the runtime makes it, and as the C library does.
const (
	threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD |
		unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
	noThread = ^uint32(threadFlags)
)

// all is the mask of a test for equality.
const all = ^uint32(0)

// rules are the calls whose arguments count. pid is that of the process.
func rules(pid int) []rule {
	one := func(arg int, values ...uint32) (cases [][]test) {
		for _, v := range values {
			cases = append(cases, []test{{arg, all, v}})
		}
		return cases
	}
	notExecutable := [][]test{{{2, unix.PROT_EXEC, 0}}}
	socket := func(family, kind, protocol uint32) []test {
		return []test{{0, all, family}, {1, ^uint32(unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK), kind}, {2, all, protocol}}
	}
	return append([]rule{
		{unix.SYS_MMAP, notExecutable},
		{unix.SYS_MPROTECT, notExecutable},
		{unix.SYS_TGKILL, one(0, uint32(pid))}, // preemption
		{unix.SYS_KILL, one(0, uint32(pid))},
		{unix.SYS_CLONE, [][]test{{{0, noThread | unix.CLONE_THREAD, unix.CLONE_THREAD}}}},
		{unix.SYS_PRCTL, one(0, unix.PR_SET_VMA)}, // the runtime gives names to its memory
		{unix.SYS_PRLIMIT64, one(0, 0)},
		{unix.SYS_FCNTL, one(1, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_DUPFD_CLOEXEC)},
		{unix.SYS_IOCTL, one(1, unix.TUNGETIFF, tunGetDevNetNS, unix.SIOCGIFINDEX)},
		{unix.SYS_SOCKET, [][]test{
			socket(unix.AF_INET, unix.SOCK_DGRAM, 0), socket(unix.AF_INET6, unix.SOCK_DGRAM, 0),
			socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
		}},
	}, rulesHere...)
}

// tunGetDevNetNS is TUNGETDEVNETNS of linux/if_tun.h, which x/sys does not have.
const tunGetDevNetNS = 0x54e3
