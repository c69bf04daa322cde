package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"culvert/ipc"
	"culvert/tun"
)

// TestMain makes the commands of the scripts: culvert, and culverts whose
// attempt to make an interface fails in one way, without trying.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"culvert":       main,
		"culvert-eperm": failing(fmt.Errorf("tun: create: %w", syscall.EPERM)),
		"culvert-notun": failing(fmt.Errorf("tun: create: /dev/net/tun is missing: %w", fs.ErrNotExist)),
		"culvert-dies": func() {
			createTUN = func(string, int, tun.Options) (tun.Device, error) { os.Exit(7); return nil, nil }
			main()
		},
	})
}

func failing(err error) func() {
	return func() {
		createTUN = func(name string, mtu int, opts tun.Options) (tun.Device, error) {
			return nil, fmt.Errorf("%w (%s, MTU %d, %+v)", err, name, mtu, opts)
		}
		main()
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "serve": serveCommand, "unserve": unserve, "bench-rows": benchRows},
		Condition: func(c string) (bool, error) {
			switch c {
			case "root":
				return os.Geteuid() == 0, nil
			case "serve":
				return mayServe(), nil
			}
			return false, fmt.Errorf("no condition %s", c)
		},
		Setup: func(e *testscript.Env) error {
			for _, f := range os.Environ() { // those of whoever runs the tests
				if name, _, _ := strings.Cut(f, "="); strings.HasPrefix(name, "WG_") || name == "LOG_LEVEL" {
					e.Setenv(name, "")
				}
			}
			e.Setenv("GODEBUG", os.Getenv("GODEBUG")) // which kernels there are, to the scripts as to us
			e.Setenv("IF", fmt.Sprintf("cvs%d", os.Getpid()))
			return nil
		},
	})
}

// mayServe is a condition of scripts: a daemon can be run in namespaces of its own,
// which root may not in most containers.
func mayServe() bool {
	_, err := os.Stat("/dev/net/tun")
	return err == nil && exec.Command("unshare", "-nm", "true").Run() == nil
}

// serveCommand is a command of scripts: serve IFNAME starts a daemon in a network
// namespace of its own, which ends with the script.
func serveCommand(ts *testscript.TestScript, _ bool, args []string) {
	ts.Defer(func() { os.Remove(socketOf(args[0])) })
	ts.Check(ts.Exec("unshare", "-n", "culvert", args[0]))
}

// unserve IFNAME ends it, as deleting its socket's file does.
func unserve(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Remove(socketOf(args[0])))
}

func socketOf(name string) string { return filepath.Join(ipc.SocketDir, name+".sock") }

// status is a command of scripts: status N PROGRAM ARG... runs the program, which
// must end with N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d, not %s", got, args[0])
	}
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]string{
		"": "info", "verbose": "debug", "DEBUG": "debug", "error": "error", "silent": "silent", "warning": "warn", "Info": "info",
	} {
		if got, err := parseLevel(name); err != nil || got.name != want {
			t.Errorf("%q is %q, %v; want %q", name, got.name, err, want)
		}
	}
	if _, err := parseLevel("loud"); err == nil {
		t.Error("loud is a level")
	}
}

// Every level comes once, silent logs nothing at all.
func TestCycle(t *testing.T) {
	start, err := parseLevel("info")
	if err != nil {
		t.Fatal(err)
	}
	log := newLogger(start)
	var text strings.Builder
	log.Logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: &log.threshold}))
	var seen []string
	for range levels {
		text.Reset()
		log.cycle()
		_, now, _ := strings.Cut(strings.TrimSpace(text.String()), "now=")
		seen = append(seen, now)
	}
	if got := strings.Join(seen, ","); got != "debug,,error,warn,info" {
		t.Errorf("the levels are told as %s", got)
	}
}

// The daemon changes its directory: what it opens later has a whole path.
func TestStateDirIsAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	o, err := parse([]string{"--state-dir=here", "wg0"})
	if err != nil || !filepath.IsAbs(o.StateDir) || filepath.Base(o.StateDir) != "here" {
		t.Errorf("%q, %v", o.StateDir, err)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"wg0", "a", "utun", "wg%d", "%d", "a%db", "fifteen-letters", "wg.7", "wg-home"} {
		if err := checkName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../a", "wg 0", "wg\n", "wg\x00", "a:b", "wg%", "wg%s", "%d%d", "%%d", "sixteen-letters!", "wg\x7f"} {
		if checkName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Only one word is said, and a parent that has gone is an error, not a signal.
func TestTell(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	p := &parent{w}
	if err := p.tell("x"); err == nil {
		t.Error("no error from a parent that has gone")
	}
	if err := p.tell("x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second word: %v", err)
	}
}
