//go:build amd64 || arm64

package confine

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// answer is what a policy's program answers to a call.
func answer(t *testing.T, vm *bpf.VM, arch, call uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64) // struct seccomp_data; this VM loads big-endian numbers, the kernel's its own
	binary.BigEndian.PutUint32(data[numberAt:], call)
	binary.BigEndian.PutUint32(data[archAt:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[argumentAt+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[argumentAt+8*i+4:], uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func machine(t *testing.T, p *policy) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(p.compile())
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestDaemonPolicy(t *testing.T) {
	const denied, unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	const nonblock = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	self := uint64(os.Getpid())
	for _, c := range []struct {
		what string
		call uint32
		args []uint64
		want uint32
	}{
		{"receive", unix.SYS_RECVMMSG, nil, allow},
		{"open: Landlock's", unix.SYS_OPENAT, nil, allow},
		{"run a program", unix.SYS_EXECVE, nil, kill},
		{"trace", unix.SYS_PTRACE, nil, kill},
		{"BPF", unix.SYS_BPF, nil, kill},
		{"who am I", unix.SYS_GETUID, nil, unknown},
		{"clone3: the C library goes on with clone", unix.SYS_CLONE3, nil, unknown},
		{"enter a namespace: tun may ask", unix.SYS_SETNS, nil, unknown},
		{"connect", unix.SYS_CONNECT, nil, unknown},
		{"a call of the future", 5000, nil, unknown},

		{"memory", unix.SYS_MMAP, []uint64{0, 4096, unix.PROT_READ | unix.PROT_WRITE}, allow},
		{"memory, reserved", unix.SYS_MMAP, []uint64{0, 4096, unix.PROT_NONE}, allow},
		{"memory to run", unix.SYS_MMAP, []uint64{0, 4096, unix.PROT_READ | unix.PROT_EXEC}, denied},
		{"memory to run, later", unix.SYS_MPROTECT, []uint64{0, 4096, unix.PROT_EXEC}, denied},
		{"memory protected", unix.SYS_MPROTECT, []uint64{0, 4096, unix.PROT_READ}, allow},

		{"a thread of Go's", unix.SYS_CLONE, []uint64{0x50f00}, allow},
		{"a thread of the C library's", unix.SYS_CLONE, []uint64{0x3d0f00}, allow},
		{"a process", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, denied},
		{"a process that nobody hears of", unix.SYS_CLONE, []uint64{0}, denied},
		{"likewise, one that shares memory", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_FILES}, denied},
		{"a process that shares memory", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_VFORK}, denied},
		{"a thread with namespaces", unix.SYS_CLONE, []uint64{0x50f00 | unix.CLONE_NEWNET}, denied},
		{"a thread that is traced", unix.SYS_CLONE, []uint64{0x50f00 | unix.CLONE_PTRACE}, denied},

		{"a signal to a thread of ours", unix.SYS_TGKILL, []uint64{self, 1, 23}, allow},
		{"a signal to another process's", unix.SYS_TGKILL, []uint64{self + 1, 1, 23}, denied},
		{"a signal to ourselves", unix.SYS_KILL, []uint64{self, 6}, allow},
		{"a signal to all", unix.SYS_KILL, []uint64{0xffffffff, 9}, denied},
		{"a signal to init", unix.SYS_KILL, []uint64{1, 9}, denied},

		{"UDP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM | nonblock, 0}, allow},
		{"UDP, IPv6", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM | nonblock, 0}, allow},
		{"UDP with bits the kernel does not look at", unix.SYS_SOCKET, []uint64{1<<32 | unix.AF_INET, unix.SOCK_DGRAM, 0}, allow},
		{"rtnetlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW | unix.SOCK_CLOEXEC, 0}, allow},
		{"netfilter", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, denied},
		{"TCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | nonblock, 0}, denied},
		{"ICMP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, denied},
		{"raw IP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW, 0}, denied},
		{"packets", unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, denied},
		{"a unix socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM, 0}, denied},
		{"a virtual machine's", unix.SYS_SOCKET, []uint64{unix.AF_VSOCK, unix.SOCK_DGRAM, 0}, denied},

		{"the interface's name", unix.SYS_IOCTL, []uint64{9, unix.TUNGETIFF}, allow},
		{"its namespace", unix.SYS_IOCTL, []uint64{9, tunGetDevNetNS}, allow},
		{"a number of an interface", unix.SYS_IOCTL, []uint64{9, unix.SIOCGIFINDEX}, allow},
		{"another interface", unix.SYS_IOCTL, []uint64{9, unix.TUNSETIFF}, denied},
		{"typing into a terminal", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, denied},
		{"an argument that is a number of an allowed call", unix.SYS_IOCTL, []uint64{9, unix.SYS_WRITE}, denied},
		{"likewise, of a socket", unix.SYS_SOCKET, []uint64{unix.SYS_READ, unix.SYS_READ, unix.SYS_READ}, denied},

		{"a copy of a descriptor", unix.SYS_FCNTL, []uint64{9, unix.F_DUPFD_CLOEXEC}, allow},
		{"signals to another at input", unix.SYS_FCNTL, []uint64{9, unix.F_SETOWN}, denied},
		{"a name for memory", unix.SYS_PRCTL, []uint64{unix.PR_SET_VMA, 0}, allow},
		{"core dumps", unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE, 1}, denied},
		{"our limits", unix.SYS_PRLIMIT64, []uint64{0, 7}, allow},
		{"another's limits", unix.SYS_PRLIMIT64, []uint64{1, 7}, denied},
	} {
		vm := machine(t, daemonPolicy())
		if got := answer(t, vm, auditArch, c.call, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
}

// The calls of another architecture, which have other numbers, end the process.
func TestForeignCalls(t *testing.T) {
	vm := machine(t, daemonPolicy())
	for call := range uint32(500) {
		if got := answer(t, vm, unix.AUDIT_ARCH_I386, call); got != kill {
			t.Fatalf("call %d of the i386: %#x", call, got)
		}
		if got := answer(t, vm, auditArch, foreignCalls|call); hasForeign && got != kill {
			t.Fatalf("call %d of x32: %#x", call, got)
		}
	}
}

// Each call of the lists has the result that the lists say, and is in one of them.
func TestLists(t *testing.T) {
	vm := machine(t, daemonPolicy())
	seen := map[uint32]bool{}
	check := func(calls []uint32, want uint32) {
		for _, call := range calls {
			if got := answer(t, vm, auditArch, call, ^uint64(0), ^uint64(0), ^uint64(0)); got != want {
				t.Errorf("call %d: %#x, want %#x", call, got, want)
			}
			if seen[call] {
				t.Errorf("call %d is in the lists twice", call)
			}
			seen[call] = true
		}
	}
	check(always, allow)
	check(never, kill)
	for _, r := range rules(os.Getpid()) {
		check([]uint32{r.call}, errno(unix.EPERM))
	}
}

// What the data path calls is found within 15 instructions, where the kernel does not
// remember that it need not ask.
func TestHotCallsComeFirst(t *testing.T) {
	program := daemonPolicy().compile()
	for _, call := range []uint32{unix.SYS_RECVMMSG, unix.SYS_SENDMMSG, unix.SYS_READ, unix.SYS_WRITEV, unix.SYS_EPOLL_PWAIT, unix.SYS_FUTEX, unix.SYS_NANOSLEEP} {
		for i, in := range program {
			if jump, ok := in.(bpf.JumpIf); ok && jump.Cond == bpf.JumpEqual && jump.Val == call {
				if i+2 > 15 { // up to it, and the return
					t.Errorf("call %d takes %d instructions", call, i+2)
				}
				break
			}
		}
	}
	if len(program) > 500 {
		t.Errorf("the program has %d instructions", len(program))
	}
}

// slow is a policy's result by its lists.
func (p *policy) slow(call uint32, args [6]uint32) uint32 {
	for _, c := range p.always {
		if c == call {
			return allow
		}
	}
	for _, r := range p.rules {
		if r.call != call {
			continue
		}
	cases:
		for _, tests := range r.cases {
			for _, t := range tests {
				if args[t.arg]&t.mask != t.value {
					continue cases
				}
			}
			return allow
		}
		return errno(unix.EPERM)
	}
	for _, c := range p.never {
		if c == call {
			return kill
		}
	}
	return errno(p.refusal)
}

// The program says what the lists say, for small random ones, too.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3, 2, 4, 2, 1, 0, 255, 7, 1, 1, 5, 9, 9, 9, 4, 7, 5})
	f.Add([]byte{0, 1, 4, 1, 2, 0, 1, 1, 1, 2, 2, 1, 4, 4, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		next := func() uint32 {
			if len(b) == 0 {
				return 0
			}
			v := b[0]
			b = b[1:]
			return uint32(v)
		}
		p := &policy{arch: 1, refusal: unix.ENOSYS}
		for range next() % 8 {
			p.always = append(p.always, next()%16)
		}
		for range next() % 4 {
			r := rule{call: next() % 16}
			for range next() % 3 {
				var tests []test
				for range next() % 4 {
					tests = append(tests, test{int(next() % 6), next(), next()})
				}
				r.cases = append(r.cases, tests)
			}
			p.rules = append(p.rules, r)
		}
		for range next() % 8 {
			p.never = append(p.never, next()%16)
		}
		vm := machine(t, p)
		args := [6]uint32{next(), next(), next(), next(), next(), next()}
		wide := make([]uint64, 6)
		for i, a := range args {
			wide[i] = uint64(a)
		}
		for call := range uint32(17) {
			if got, want := answer(t, vm, 1, call, wide...), p.slow(call, args); got != want {
				t.Errorf("%+v: call %d with %v: %#x, want %#x", p, call, args, got, want)
			}
		}
	})
}
