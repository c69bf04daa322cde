//go:build linux

package nstest

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What has only begun, and may be in the middle of execve(2), is found; what sweep has
// ended has ended. Of 150, 2 were not found and 5 still there
// on a busy machine, when empty and half environments were believed, and so was who had just lost his.
func TestSweepMissesNobody(t *testing.T) {
	l := lab(t)
	n, err := l.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		out, err := n.RunCommand(daemonize)
		if err != nil {
			t.Fatal(err)
		}
		daemon := strings.TrimSpace(out)
		if pid, _ := strconv.Atoi(daemon); !slices.Contains(marked(l.mark), pid) {
			t.Errorf("%s is not found", daemon)
		}
		if err := sweep(l.mark); err != nil || running(daemon) {
			t.Errorf("%s is still there: %v", daemon, err)
		}
	}
}

// How much environment there is, by what stat says.
func TestSizeOfEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		memory, start, end string
		want               uint64
	}{
		"as usual":                   {"3133440", "140721549908487", "140721549909995", 1508},
		"in execve":                  {"139264", "0", "0", inExec},
		"in execve, at its end":      {"139264", "140721549908487", "0", inExec},
		"started without one":        {"3133440", "140721549908487", "140721549908487", 0},
		"ending, or of the kernel's": {"0", "0", "0", 0},
	} {
		s := make([]string, 50)
		s[statMemory], s[statEnvStart], s[statEnvEnd] = c.memory, c.start, c.end
		if got := sizeOfEnvironment(s); got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if sizeOfEnvironment(nil) != 0 {
		t.Error("who is gone has one")
	}
}

// The fields are where stat says, also after a name with spaces and parentheses.
func TestStat(t *testing.T) {
	program := t.TempDir() + "/a) Z (b"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	const want = waitVar + "=1\x00"
	cmd := exec.Command(program)
	cmd.Env = []string{want[:len(want)-1]}
	if _, err := cmd.StdinPipe(); err != nil { // it waits until that is closed
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if env := string(environment(pid)); env != want || ended(pid) || sizeOfEnvironment(stat(pid)) != uint64(len(want)) {
		t.Errorf("environment %q of %q", env, stat(pid))
	}
	cmd.Process.Signal(syscall.SIGKILL)
	if !Eventually(patience, func() bool { return ended(pid) }) {
		t.Fatalf("killed, and yet %q", stat(pid))
	}
	if env := environment(pid); len(env) != 0 || sizeOfEnvironment(stat(pid)) != 0 {
		t.Errorf("a zombie has environment %q", env)
	}
	if cmd.Wait(); !ended(pid) {
		t.Errorf("waited for, %q is left", stat(pid))
	}
}
