//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// refuseVar names calls that are refused before Apply, as a container does.
const refuseVar = "CONFINE_REFUSE"

// containers are sets of calls that are refused with an error.
var containers = map[string]struct {
	calls []uint32
	with  unix.Errno
	want  string // what the process says of Apply
}{
	"no Landlock":                {[]uint32{unix.SYS_LANDLOCK_CREATE_RULESET}, unix.ENOSYS, "no_new_privs, no landlock (not in this kernel or container: function not implemented), seccomp"},
	"Landlock forbidden":         {[]uint32{unix.SYS_LANDLOCK_CREATE_RULESET}, unix.EPERM, "no landlock (not in this kernel or container: operation not permitted), seccomp"},
	"Landlock off":               {[]uint32{unix.SYS_LANDLOCK_CREATE_RULESET}, unix.EOPNOTSUPP, "no landlock (disabled when the kernel was started), seccomp"},
	"seccomp forbidden":          {[]uint32{unix.SYS_SECCOMP}, unix.EPERM, "error: confine: seccomp: operation not permitted"},
	"no sockets":                 {[]uint32{unix.SYS_SOCKET}, unix.EPERM, "error: confine: a UDP socket after seccomp: operation not permitted, not done"},
	"capabilities cannot be set": {[]uint32{unix.SYS_CAPSET}, unix.EPERM, "error: confine: set capabilities: operation not permitted"},
	"prctl refused":              {[]uint32{unix.SYS_PRCTL}, unix.EPERM, "error: confine: "},
}

// inContainer is a process in such a container: it says what Apply says.
func inContainer(name string) {
	c := containers[name]
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: numberAt, Size: 4}}
	program = append(program, anyOf(c.calls, errno(c.with))...)
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: allow}))
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if err == nil {
		err = install(raw)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s, err := Apply(Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(0)
	}
	fmt.Println(s)
	os.Exit(0)
}

// Where Landlock is missing the rest is in force; where another step cannot be had,
// or what it does is not what it should, Apply says which.
func TestInContainer(t *testing.T) {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range containers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), refuseVar+"="+name)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s, want %s", err, out, c.want)
			}
		})
	}
}
