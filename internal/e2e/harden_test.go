//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"culvert/internal/nstest"
)

// The memory of a daemon is for nobody but root with CAP_SYS_PTRACE (to read, on newer kernels CAP_PERFMON is enough): not for other processes of its user, in the
// foreground as in the background, and it makes no core dump.
func TestMemoryIsPrivate(t *testing.T) {
	for _, mode := range []string{"in the foreground", "in the background"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			h, err := l.NewHost("host")
			must(t, err)
			var pid int
			if mode == "in the foreground" {
				must(t, h.StartDaemon(ours))
				pid = h.Daemon.PID
			} else {
				_, err := h.RunCommand(nstest.Command{Args: daemon(h.WG)})
				must(t, err)
				pids := l.Processes()
				if len(pids) != 1 {
					t.Fatalf("processes %v, not one", pids)
				}
				pid = pids[0]
			}
			// Its own user is root here, who may do this to any process but for three capabilities. (/proc/PID/environ is
			// memory of the process, and so asks for the right to read it. /proc/PID/mem asks for one to change it, which Yama may refuse.)
			without := []string{"setpriv", "--inh-caps", "-sys_ptrace,-sys_admin,-perfmon", "--bounding-set", "-sys_ptrace,-sys_admin,-perfmon"}
			other, err := h.Start(nstest.Command{Args: append(without, "sleep", "60")})
			must(t, err)
			readable := func(pid int) bool {
				out, err := h.Run(append(without, "head", "-c", "1", fmt.Sprintf("/proc/%d/environ", pid))...)
				return err == nil && len(out) == 1
			}
			eventually(t, patience, "another process, once it has no more rights, can be read", func() bool { return readable(other.PID) })
			if readable(pid) {
				t.Error("the memory of the daemon can be read")
			}
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			must(t, err)
			for line := range strings.Lines(string(limits)) {
				if rest, ok := strings.CutPrefix(line, "Max core file size"); ok && strings.Join(strings.Fields(rest)[:2], " ") != "0 0" {
					t.Errorf("core dumps: %s", strings.TrimSpace(rest))
				}
			}
		})
	}
}

// A daemon that is made to crash leaves no core, though it was started with leave to make one; and its last words have no
// key (nstest looks).
func TestNoCoreDump(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h, err := l.NewHost("host")
	must(t, err)
	crash := func(script string) (*nstest.Process, string) {
		t.Helper()
		dir, err := os.MkdirTemp(l.Dir, "core-")
		must(t, err)
		p, err := h.Start(nstest.Command{
			Args: []string{"sh", "-c", fmt.Sprintf("cd %s && ulimit -c unlimited && exec %s", dir, script)},
			Env:  []string{"GOTRACEBACK=crash", "LOG_LEVEL=debug"},
		})
		must(t, err)
		return p, dir
	}
	cores := func(dir string) int {
		files, err := filepath.Glob(filepath.Join(dir, "core*"))
		must(t, err)
		return len(files)
	}
	control, dir := crash("sh -c 'kill -ABRT $$'")
	dumps := strings.Contains(fmt.Sprint(control.Wait(patience)), "core dumped")
	t.Logf("this machine makes core dumps: %v, in the directory of the process: %v", dumps, cores(dir) > 0)

	h.Daemon, dir = crash(strings.Join(daemon("-f", h.WG), " "))
	eventually(t, patience, "it serves", func() bool { return nstest.Answers(h.WG) })
	must(t, h.Configure("[Peer]\nPublicKey = "+nstest.NewKeys().Public+"\nPresharedKey = "+nstest.NewPSK()+"\n"))
	must(t, h.Daemon.Signal(syscall.SIGABRT))
	err = h.Daemon.Wait(patience)
	if err == nil || !strings.Contains(h.Daemon.Stderr(), "goroutine ") {
		t.Fatalf("it did not crash: %v", err)
	}
	if strings.Contains(err.Error(), "core dumped") || cores(dir) > 0 {
		t.Error("it left a core")
	}
	if !dumps {
		t.Skip("no process can leave a core here: that the daemon leaves none says nothing")
	}
}
