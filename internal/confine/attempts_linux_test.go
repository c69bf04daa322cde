//go:build amd64 || arm64

package confine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt is what a program that was taken over might try, or what it should go on to
// be able to. It undoes what it does, or that goes with the process.
type attempt struct {
	name string
	want string // when confined: done, killed, or the name of an error
	try  func(p plan) error
	// lacking is set where a kernel or container may not have it.
	lacking bool
}

// alone are those after which a process that is not confined cannot try others.
var alone = []string{"run a program", "become somebody"}

var attempts = []attempt{
	{"read /etc/shadow", "EACCES", func(plan) error { _, err := os.ReadFile("/etc/shadow"); return err }, false},
	{"read /etc/passwd", "EACCES", func(plan) error { _, err := os.ReadFile("/etc/passwd"); return err }, false},
	{"read /proc/self", "EACCES", func(plan) error { _, err := os.ReadFile("/proc/self/maps"); return err }, false},
	{"list /", "EACCES", func(plan) error { _, err := os.ReadDir("/"); return err }, false},
	{"make a file", "EACCES", func(p plan) error { return os.WriteFile(filepath.Join(p.Dir, "else"), nil, 0o600) }, false},
	{"change a file", "EACCES", func(p plan) error { return os.WriteFile(filepath.Join(p.Dir, "there"), []byte("x"), 0o600) }, false},
	{"truncate a file", "ENOSYS", func(p plan) error { return unix.Truncate(filepath.Join(p.Dir, "there"), 0) }, false},
	{"change the mode of a file", "ENOSYS", func(p plan) error { return os.Chmod(filepath.Join(p.Dir, "there"), 0o644) }, false},
	{"change the owner of a file", "ENOSYS", func(p plan) error { return os.Chown(filepath.Join(p.Dir, "there"), 1, 1) }, false},
	{"make a directory", "ENOSYS", func(p plan) error {
		defer os.Remove(filepath.Join(p.Dir, "new"))
		return os.Mkdir(filepath.Join(p.Dir, "new"), 0o700)
	}, false},
	{"make a link", "ENOSYS", func(p plan) error {
		defer os.Remove(filepath.Join(p.Dir, "link"))
		return os.Link(filepath.Join(p.Dir, "there"), filepath.Join(p.Dir, "link"))
	}, false},
	{"make a device", killed, func(p plan) error {
		path := filepath.Join(p.Dir, "state", "null")
		defer os.Remove(path)
		return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	}, false},
	{"open a device", "EACCES", func(plan) error { f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); f.Close(); return err }, false},
	{"make a file where files are removed", "EACCES", func(p plan) error {
		path := filepath.Join(p.Dir, "sockets", "new")
		defer os.Remove(path)
		return os.WriteFile(path, nil, 0o600)
	}, false},
	{"remove a file where files are removed", done, func(p plan) error { return remove(filepath.Join(p.Dir, "sockets")) }, false},
	{"replace a file where files are replaced", done, func(p plan) error {
		dir := filepath.Join(p.Dir, "state")
		f, err := os.CreateTemp(dir, "x")
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		return errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, "name")))
	}, false},
	{"remove a file where files are replaced", done, func(p plan) error { return remove(filepath.Join(p.Dir, "state")) }, false},
	{"move a file between the two", "EACCES", func(p plan) error {
		from, to := filepath.Join(p.Dir, "state", "there"), filepath.Join(p.Dir, "sockets", "moved")
		defer os.Rename(to, from)
		return os.Rename(from, to)
	}, false},

	{"run a program", killed, func(plan) error { return syscall.Exec("/bin/true", []string{"true"}, nil) }, false},
	{"make a process", "EPERM", func(plan) error { return makeProcess() }, false},
	{"trace a process", killed, func(p plan) error {
		if err := unix.PtraceAttach(p.Victim); err != nil {
			return err
		}
		var status unix.WaitStatus
		_, err := unix.Wait4(p.Victim, &status, unix.WALL, nil)
		return errors.Join(err, unix.PtraceDetach(p.Victim))
	}, false},
	{"read a process", killed, func(p plan) error {
		var to [8]byte
		local := []unix.Iovec{{Base: &to[0], Len: 8}}
		_, err := unix.ProcessVMReadv(p.Victim, local, []unix.RemoteIovec{{Base: p.Address, Len: 8}}, 0)
		return err
	}, false},
	{"signal a process", "EPERM", func(p plan) error { return unix.Kill(p.Victim, unix.SIGCONT) }, false},
	{"signal a thread", "EPERM", func(p plan) error { return unix.Tgkill(p.Victim, p.Victim, unix.SIGCONT) }, false},
	{"limit a process", "EPERM", func(p plan) error {
		return unix.Prlimit(p.Victim, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	}, false},
	{"become somebody", killed, func(plan) error { return raw(unix.SYS_SETUID, 65534) }, false},
	{"drop groups", killed, func(plan) error { return raw(unix.SYS_SETGROUPS) }, false},
	{"mount", killed, func(p plan) error { return unix.Mount("none", filepath.Join(p.Dir, "mount"), "tmpfs", 0, "") }, false},
	{"change the root", killed, func(p plan) error { return unix.Chroot("/") }, false},
	{"make a namespace", killed, func(plan) error { return unix.Unshare(unix.CLONE_NEWNET) }, false},
	{"enter a namespace", "ENOSYS", func(p plan) error { return unix.Setns(p.Namespace, unix.CLONE_NEWNET) }, false},
	{"name the host", killed, func(plan) error { return unix.Sethostname([]byte("x")) }, false},
	{"load a BPF program", killed, func(plan) error {
		attributes := [18]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1}
		return raw(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	}, true},
	{"look at performance", killed, func(plan) error {
		_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER0, Config: unix.PERF_COUNT_SW_CPU_CLOCK}, 0, -1, -1, 0)
		return err
	}, true},
	{"handle page faults", killed, func(plan) error { return raw(unix.SYS_USERFAULTFD) }, true},
	{"make an io_uring", killed, func(plan) error {
		var params [120]byte
		return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)))
	}, true},
	{"use the key ring", killed, func(plan) error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_THREAD_KEYRING, true); return err }, true},
	{"handle a file", killed, func(p plan) error { _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p.Dir, 0); return err }, true},
	{"look at a file", done, func(p plan) error { _, err := os.Stat(p.Dir); return err }, false},

	{"memory to run", "EPERM", func(plan) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	}, false},
	{"a file in memory", "ENOSYS", func(plan) error { _, err := unix.MemfdCreate("x", 0); return err }, false},
	{"core dumps", "EPERM", func(plan) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, false},
	{"memory", done, func(plan) error { b := make([]byte, 64<<20); b[len(b)-1] = 1; runtime.GC(); return nil }, false},
	{"threads", done, func(plan) error { startThread(); return nil }, false},

	{"a UDP socket", done, func(plan) error { return listen("udp", ":0") }, false},
	{"a UDP socket on a low port", done, func(plan) error { return listen("udp4", ":1") }, false},
	{"a mark", done, func(plan) error { return withSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, unix.SO_MARK) }, false},
	{"large buffers", done, func(plan) error { return withSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0, unix.SO_SNDBUFFORCE) }, false},
	{"rtnetlink", done, func(plan) error { return withSocket(unix.AF_NETLINK, unix.SOCK_RAW, 0, unix.SO_SNDBUF) }, false},
	{"netfilter", "EPERM", func(plan) error {
		return withSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, unix.SO_SNDBUF)
	}, true},
	{"TCP", "EPERM", func(plan) error { return withSocket(unix.AF_INET, unix.SOCK_STREAM, 0, unix.SO_SNDBUF) }, false},
	{"raw IP", "EPERM", func(plan) error { return withSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP, unix.SO_SNDBUF) }, false},
	{"packets", "EPERM", func(plan) error { return withSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, unix.SO_SNDBUF) }, true},
	{"a unix socket", "EPERM", func(plan) error { return withSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0, unix.SO_SNDBUF) }, false},
}

// raw makes a call on this thread, as package syscall would not.
func raw(call uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall6(call, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// makeProcess makes one that ends at once, and does nothing before.
//
//go:norace
//go:noinline
func makeProcess() error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	for pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := unix.Wait4(int(pid), nil, unix.WALL, nil)
	return err
}

// withSocket makes a socket and sets an option of it to 1.
func withSocket(family, kind, protocol, option int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
}

// remove removes one of the files of a directory that are there for that.
func remove(dir string) error {
	var err error
	for _, name := range []string{"remove1", "remove2", "remove3", "remove4"} {
		if _, err = os.Lstat(filepath.Join(dir, name)); err == nil {
			return os.Remove(filepath.Join(dir, name))
		}
	}
	return err
}

func listen(network, address string) error {
	c, err := net.ListenPacket(network, address)
	if err == nil {
		c.Close()
	}
	return err
}
