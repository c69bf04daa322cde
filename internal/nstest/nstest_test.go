//go:build linux

package nstest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leakVar makes this test binary a program that leaves things behind.
const leakVar = "NSTEST_LEAK"

// waitVar makes this process wait for the end of its input.
const waitVar = "NSTEST_TEST_WAIT"

func TestMain(m *testing.M) {
	if os.Getenv(leakVar) != "" {
		leak()
	}
	if os.Getenv(waitVar) != "" {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// daemonize starts a process that leaves its parent and its session.
var daemonize = Command{Args: []string{"sh", "-c", "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!"}}

// leak makes a lab with a child, a daemonized process, a file and a socket,
// prints where they are, and waits to be killed.
func leak() {
	l, err := New()
	if err != nil {
		panic(err)
	}
	n, err := l.Namespace("leaky")
	if err != nil {
		panic(err)
	}
	p, err := n.Start(Command{Args: []string{"sleep", "300"}})
	if err != nil {
		panic(err)
	}
	daemon, err := n.RunCommand(daemonize)
	if err != nil {
		panic(err)
	}
	socket := SocketPath(l.Name())
	os.Mkdir(SocketDir, 0o755)
	os.WriteFile(socket, nil, 0o600)
	interrupted := make(chan os.Signal, 1)
	if signal.Ignored(syscall.SIGINT) { // as what nohup or a script's & started does: nobody would die of it
		signal.Notify(interrupted, syscall.SIGINT)
	}
	fmt.Println(p.PID, strings.TrimSpace(daemon), l.Dir, socket)
	<-interrupted
	os.Exit(130) // which closes nothing, too
}

func lab(t *testing.T) *Lab {
	t.Helper()
	if err := Missing("ip", "ping", "sh", "sleep"); err != nil {
		t.Skip(err)
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func running(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestNamespacesAreJoinedAndSeparate(t *testing.T) {
	l := lab(t)
	a, err := l.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Namespace("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := Join(a, "left", b, "right", 1500); err != nil {
		t.Fatal(err)
	}
	for i, step := range []error{
		a.IP(AddAddress("10.0.0.1/24", "left"), AddAddress("fd00::1/64", "left")),
		b.IP(AddAddress("10.0.0.2/24", "right"), AddAddress("fd00::2/64", "right")),
	} {
		if step != nil {
			t.Fatal(i, step)
		}
	}
	for _, to := range []string{"10.0.0.2", "fd00::2"} {
		if _, err := a.Run("ping", "-n", "-c1", "-W1", to); err != nil {
			t.Error(err)
		}
	}
	if err := a.IP("link show right"); err == nil {
		t.Error("an interface of one namespace is seen in the other")
	}
	if _, err := exec.Command("ip", "link", "show", "left").Output(); err == nil {
		t.Error("an interface is seen outside its namespace: a thread was not put back")
	}
}

func TestNamesAreUniqueAndShort(t *testing.T) {
	l := lab(t)
	seen := make(map[string]bool)
	for range 5000 {
		name := l.Name()
		if seen[name] || len(name) > 15 {
			t.Fatalf("%q is taken or too long", name)
		}
		seen[name] = true
	}
}

func TestCloseEndsDaemonizedProcesses(t *testing.T) {
	l := lab(t)
	n, err := l.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	child, err := n.Start(Command{Args: []string{"sleep", "300"}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.RunCommand(daemonize)
	if err != nil {
		t.Fatal(err)
	}
	daemon := strings.TrimSpace(out)
	if !running(daemon) || !child.Alive() {
		t.Fatal("the processes are not running")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if running(daemon) || child.Alive() || !gone(l.Dir) {
		t.Errorf("left behind: daemon %v, child %v, directory %v", running(daemon), child.Alive(), !gone(l.Dir))
	}
	if _, err := n.Start(daemonize); err == nil {
		t.Error("a closed lab starts processes")
	}
}

// However the process that owns a lab dies, nothing stays.
func TestNothingStaysAfter(t *testing.T) {
	lab(t)
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), leakVar+"=1", "GOTRACEBACK=none")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			f := strings.Fields(line)
			if len(f) != 4 || !running(f[0]) || !running(f[1]) || gone(f[2]) || gone(f[3]) {
				t.Fatalf("nothing to leave behind: %q", line)
			}
			cmd.Process.Signal(s)
			cmd.Wait()
			if !Eventually(10*time.Second, func() bool {
				return !running(f[0]) && !running(f[1]) && gone(f[2]) && gone(f[3])
			}) {
				t.Errorf("left behind: child %v, daemon %v, directory %v, socket %v",
					running(f[0]), running(f[1]), !gone(f[2]), !gone(f[3]))
			}
		})
	}
}

func TestEventuallyAsksOnceMoreAtTheEnd(t *testing.T) {
	asked := 0
	if Eventually(0, func() bool { asked++; return false }) || asked < 1 {
		t.Errorf("asked %d times", asked)
	}
	if !Eventually(time.Minute, func() bool { asked++; return asked > 5 }) {
		t.Error("did not become true")
	}
}

func TestMissingNamesPrograms(t *testing.T) {
	if got := MissingPrograms("sh", "no-such-program"); len(got) != 1 || got[0] != "no-such-program" {
		t.Errorf("got %q", got)
	}
}

// A tool that ends by itself was not interrupted: that would end the test with status 130.
func TestRunToolEnds(t *testing.T) {
	for range 100 {
		if got := RunTool("tool", func(context.Context) (bool, error) { return true, nil }); got != 0 {
			t.Fatalf("status %d", got)
		}
		runtime.Gosched()
	}
}
