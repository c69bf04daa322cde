//go:build linux

package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/internal/confine"
	"culvert/internal/nstest"
)

// confinementOf is what the daemon says of its confinement, and its process id.
func confinementOf(t *testing.T, h *nstest.Host) (confine.State, int) {
	t.Helper()
	var s struct {
		PID         int
		Confinement confine.State
	}
	must(t, json.Unmarshal([]byte(command(t, h.NS, daemon("status", "--json", h.WG)...)), &s))
	return s.Confinement, s.PID
}

// threads are the lines of proc_pid_status(5) of every thread of a process.
func threads(t *testing.T, pid int) (all []map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("/proc", itoa(pid), "task/*/status"))
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		status := map[string]string{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			status[name] = strings.TrimSpace(value)
		}
		all = append(all, status)
	}
	if len(all) < 3 {
		t.Fatalf("%d threads of process %d", len(all), pid)
	}
	return all
}

// every fails the test unless each thread has those values.
func every(t *testing.T, pid int, want map[string]string) {
	t.Helper()
	for _, status := range threads(t, pid) {
		for name, value := range want {
			if status[name] != value {
				t.Errorf("thread %s: %s is %q, want %q", status["Pid"], name, status[name], value)
			}
		}
	}
}

// Masks of capabilities: CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN is 12.
const (
	noCapability = "0000000000000000"
	onlyAdmin    = "0000000000001000"
	adminAndBind = "0000000000001400"
)

// confined is what each thread of a confined daemon has that had everything.
var confined = map[string]string{
	"CapEff": adminAndBind, "CapPrm": adminAndBind, "CapBnd": adminAndBind, "CapInh": noCapability, "CapAmb": noCapability,
	"NoNewPrivs": "1", "Seccomp": "2", // 2 is a filter
}

func TestConfinement(t *testing.T) {
	t.Run("every thread is confined, also under load", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "8M", "-P", "4")
		s, pid := confinementOf(t, p.left)
		every(t, pid, confined)
		if !s.On || !s.Bounded || !s.NoNewPrivs || !s.Seccomp || !slices.Equal(s.Capabilities, []string{"cap_net_bind_service", "cap_net_admin"}) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("the daemon in the background is", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err)
		command(t, h.NS, daemon(h.WG)...)
		_, pid := confinementOf(t, h)
		every(t, pid, confined)
	})
	t.Run("with nothing but CAP_NET_ADMIN it starts and serves", func(t *testing.T) {
		t.Parallel()
		p := newLink(t, options{})
		must(t, p.right.StartDaemon(ours))
		// Nobody may not make a socket in the usual place, and is handed one.
		socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: nstest.SocketPath(p.left.WG), Net: "unix"})
		must(t, err)
		listener, err := socket.File()
		must(t, err)
		less := nstest.Program{Name: "culvert", Env: append([]string{"WG_UAPI_FD=3"}, ours.Env...),
			Args: append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"}, ours.Args...)}
		d, err := p.left.Start(nstest.Command{Args: append(less.Args, p.left.WG), Env: append([]string{"WG_PROCESS_FOREGROUND=1"}, less.Env...), Files: []*os.File{listener}})
		must(t, err, listener.Close())
		p.left.Daemon = d
		eventually(t, patience, "it serves", func() bool { return p.left.HasLink(p.left.WG) })
		p.configure(t, options{})
		must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
		pings(t, p.left.NS, rightTun4, 2)
		command(t, p.left.NS, "wg", "set", p.left.WG, "fwmark", "7", "listen-port", "51830")
		pings(t, p.left.NS, rightTun4, 2)
		s, pid := confinementOf(t, p.left)
		every(t, pid, map[string]string{"CapEff": onlyAdmin, "CapPrm": onlyAdmin, "CapInh": noCapability, "CapAmb": noCapability, "NoNewPrivs": "1"})
		if s.Bounded || !slices.Equal(s.Capabilities, []string{"cap_net_admin"}) {
			t.Errorf("%+v", s)
		}
		must(t, d.Stop(), socket.Close())
	})
	t.Run("it becomes another user", func(t *testing.T) {
		t.Parallel()
		dir, err := os.MkdirTemp("", "culvert-state-")
		must(t, err, os.Chmod(dir, 0o755))
		t.Cleanup(func() { os.RemoveAll(dir) })
		state := filepath.Join(dir, "new")
		p := newLink(t, options{bothKnow: true})
		must(t, p.right.StartDaemon(ours), p.right.Up(1420, rightTun4+"/24"))
		for range 2 { // the second time the first one's socket and directory are there
			must(t, p.left.StartDaemon(ours, "CULVERT_USER=65534", "CULVERT_STATE_DIR="+state))
			p.configure(t, options{bothKnow: true})
			must(t, p.left.Up(1420, leftTun4+"/24"))
			pings(t, p.left.NS, rightTun4, 1)
			for _, port := range []string{"443", "51999"} {
				command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", port, "fwmark", port)
				pings(t, p.left.NS, rightTun4, 1)
			}
			s, pid := confinementOf(t, p.left)
			every(t, pid, confined)
			every(t, pid, map[string]string{"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534", "Groups": ""})
			if s.User == "" {
				t.Errorf("%+v", s)
			}
			must(t, p.left.Daemon.Signal(unix.SIGTERM), p.left.Daemon.Wait(patience))
			if _, err := os.Stat(filepath.Join(state, p.left.WG+".stamp")); err != nil {
				t.Error(err)
			}
		}
		if nstest.Answers(p.left.WG) {
			t.Error("somebody answers on the socket")
		}
		// wg(8) removes what nobody answers on.
		_, _ = p.left.Run("wg", "show", p.left.WG)
		if _, err := os.Lstat(nstest.SocketPath(p.left.WG)); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	t.Run("--no-confine leaves everything as it is", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err, h.StartDaemon(ours, "CULVERT_NO_CONFINE=1"))
		s, pid := confinementOf(t, h)
		self := threads(t, os.Getpid())[0]
		every(t, pid, map[string]string{"CapEff": self["CapEff"], "CapBnd": self["CapBnd"], "NoNewPrivs": "0"})
		if s.On || s.Why != confine.Option {
			t.Errorf("%+v", s)
		}
	})
}

// What needs privileges goes on to work.
func TestConfinedDaemonWorks(t *testing.T) {
	t.Run("a port below 1024, a mark and large buffers", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{bothKnow: true})
		for _, port := range []string{"443", "53", "51999"} {
			command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", port, "fwmark", port)
			pings(t, p.left.NS, rightTun4, 1)
		}
		out := command(t, p.left.NS, "ss", "-lunm", "sport = 51999")
		if !strings.Contains(out, "rb"+itoa(2*7<<20)) || !strings.Contains(out, "tb"+itoa(2*64<<20)) {
			t.Errorf("buffers are as the system limits them: %s", out)
		}
	})
	t.Run("word to the service manager, and signals for the log", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err)
		path := filepath.Join(l.Dir, "notify")
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		must(t, err)
		defer manager.Close()
		hear := func() string {
			must(t, manager.SetReadDeadline(time.Now().Add(patience)))
			b := make([]byte, 100)
			n, err := manager.Read(b)
			must(t, err)
			return string(b[:n])
		}
		must(t, h.StartDaemon(ours, "NOTIFY_SOCKET="+path, "LOG_LEVEL=info"))
		if word := hear(); word != "READY=1" {
			t.Errorf("it says %q at the start", word)
		}
		must(t, h.Daemon.Signal(unix.SIGUSR2))
		eventually(t, patience, "counters in the log", func() bool { return strings.Contains(h.Daemon.Stderr(), "msg=status") })
		must(t, h.Daemon.Signal(unix.SIGUSR1))
		eventually(t, patience, "another level", func() bool { return strings.Contains(h.Daemon.Stderr(), "log level changed") })
		must(t, h.Daemon.Signal(unix.SIGTERM))
		if word := hear(); word != "STOPPING=1" {
			t.Errorf("it says %q at the end", word)
		}
		endsWell(t, h)
	})
	t.Run("the state file", func(t *testing.T) {
		t.Parallel()
		p := newLink(t, options{})
		dir := filepath.Join(p.lab.Dir, "state")
		must(t, p.left.StartDaemon(ours, "CULVERT_STATE_DIR="+dir), p.right.StartDaemon(ours))
		p.configure(t, options{})
		must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
		pings(t, p.left.NS, rightTun4, 1)
		file := filepath.Join(dir, p.left.WG+".stamp")
		read := func() string { text, _ := os.ReadFile(file); return string(text) }
		eventually(t, patience, "it is written", func() bool { return read() != "" })
		ahead := read()
		must(t, p.left.Daemon.Signal(unix.SIGTERM))
		endsWell(t, p.left)
		if last := read(); last == "" || last >= ahead {
			t.Errorf("it ends with %q, before it had %q", last, ahead)
		}
	})
}
