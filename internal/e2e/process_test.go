//go:build linux

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// daemon is the command line of our daemon.
func daemon(args ...string) []string {
	return append(ours.Args[:len(ours.Args):len(ours.Args)], args...)
}

func TestDaemonize(t *testing.T) {
	t.Run("the parent returns 0 when the daemon serves", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err)
		out, err := h.RunCommand(nstest.Command{Args: daemon(h.WG)})
		must(t, err)
		if out != "" {
			t.Errorf("it prints %q", out)
		}
		if !nstest.Answers(h.WG) || !h.HasLink(h.WG) {
			t.Error("it does not serve yet")
		}
		pids := l.Processes()
		if len(pids) != 1 {
			t.Fatalf("processes %v, not one", pids)
		}
		must(t, syscall.Kill(pids[0], syscall.SIGTERM))
		eventually(t, patience, "it ends", func() bool { return len(l.Processes()) == 0 })
		if h.HasLink(h.WG) || nstest.Answers(h.WG) {
			t.Error("interface or socket is left")
		}
	})
	t.Run("the daemon holds neither terminal nor directory nor the parent's files", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err)
		// A shell that waits for the end of a pipe must not wait for the daemon.
		out, err := h.Run("sh", "-c", strings.Join(daemon(h.WG), " ")+" 2>&1 | cat; echo over")
		if err != nil || out != "over\n" {
			t.Fatalf("%v: %q", err, out)
		}
		pids := l.Processes()
		if len(pids) != 1 {
			t.Fatalf("processes %v, not one", pids)
		}
		stat, err := os.ReadFile(filepath.Join("/proc", itoa(pids[0]), "stat"))
		must(t, err)
		f := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
		if session := f[3]; session != itoa(pids[0]) {
			t.Errorf("process %d is in session %s", pids[0], session)
		}
	})
	for _, c := range []struct {
		name, setup string   // setup is shell, in a mount namespace of its own
		want        []string // words of the reason
	}{
		{"an interface of that name exists", "ip tuntap add $IF mode tap && ", []string{"$IF", "exists, and is no TUN"}},
		{"/dev/net/tun is missing", "mount -t tmpfs none /dev/net && ", []string{"/dev/net/tun"}},
		{"/dev/net/tun may not be opened", "mount -t tmpfs none /dev/net && touch /dev/net/tun && chmod 0 /dev/net/tun && setpriv --inh-caps -dac_override --bounding-set -dac_override ", []string{"/dev/net/tun cannot be opened: permission denied", "give the container"}},
		{"the capability is missing", "setpriv --inh-caps -net_admin --bounding-set -net_admin ", []string{"CAP_NET_ADMIN", "give the container"}},
		{"the socket directory cannot be made", "mount -t tmpfs -o ro none /run && ", []string{"uapi socket /var/run/wireguard/$IF.sock", "run culvert as root"}},
		{"the state directory is read-only", "mount -t tmpfs -o ro none /mnt && CULVERT_STATE_DIR=/mnt ", []string{"--state-dir (CULVERT_STATE_DIR): no files can be made there", "read-only"}},
		{"likewise, without confinement", "mount -t tmpfs -o ro none /mnt && CULVERT_NO_CONFINE=1 CULVERT_STATE_DIR=/mnt ", []string{"--state-dir (CULVERT_STATE_DIR): no files can be made there", "read-only"}},
		{"the state directory is another user's", "mount -t tmpfs -o uid=65534,mode=700 none /mnt && CULVERT_STATE_DIR=/mnt ", []string{"--state-dir (CULVERT_STATE_DIR): no files can be made there", "permission denied"}},
		{"the user cannot be become", "CULVERT_USER=nobody setpriv --inh-caps -setgid --bounding-set -setgid ", []string{"CAP_SETGID", "in place of --user (CULVERT_USER)"}},
	} {
		for _, mode := range []struct{ name, env string }{{"daemonizing", ""}, {"in the foreground", "WG_PROCESS_FOREGROUND=1 "}} {
			t.Run(c.name+": the reason and a status, "+mode.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t)
				h, err := l.NewHost("host")
				must(t, err)
				script := strings.ReplaceAll(c.setup, "$IF", h.WG)
				p, err := h.Start(nstest.Command{
					Args:        []string{"sh", "-c", script + "env " + mode.env + strings.Join(daemon(h.WG), " ")},
					SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
				})
				must(t, err)
				if err := p.Wait(patience); err == nil || p.Alive() {
					t.Fatalf("status: %v", err)
				}
				reason := strings.TrimSpace(p.Stderr())
				for _, w := range c.want {
					if !strings.Contains(reason, strings.ReplaceAll(w, "$IF", h.WG)) {
						t.Errorf("the reason %q does not mention %s", reason, w)
					}
				}
				lines := strings.Split(reason, "\n")
				if strings.Contains(c.name, "another user") { // noticed when there is a label to save at the end, which is logged
					lines = lines[len(lines)-1:]
				}
				if len(lines) > 1 {
					t.Errorf("the reason has several lines: %q", reason)
				}
				eventually(t, patience, "no process is left", func() bool { return len(l.Processes()) == 0 })
				if nstest.Answers(h.WG) {
					t.Error("a socket is left")
				}
			})
		}
	}
	t.Run("a second daemon for the same name is refused and the first goes on", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 1)
		for _, where := range []*nstest.NS{p.left.NS, p.right.NS} { // there the interface, here only the socket is taken
			for _, env := range [][]string{nil, {"WG_PROCESS_FOREGROUND=1"}} {
				second, err := where.Start(nstest.Command{Args: daemon(p.left.WG), Env: env})
				must(t, err)
				if err := second.Wait(patience); err == nil || second.Alive() {
					t.Errorf("in %s with %v: %v", where.Label, env, err)
				}
				if second.Stderr() == "" {
					t.Errorf("in %s with %v: no reason", where.Label, env)
				}
			}
		}
		command(t, p.left.NS, "wg", "show", p.left.WG)
		pings(t, p.left.NS, rightTun4, 1)
		if p.right.HasLink(p.left.WG) {
			t.Error("the refused daemon left its interface")
		}
	})
	t.Run("a stale socket is replaced", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err, h.StartDaemon(ours))
		must(t, h.Daemon.Signal(syscall.SIGKILL))
		h.Daemon.Wait(patience)
		if _, err := os.Lstat(nstest.SocketPath(h.WG)); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "the kernel removes the interface", func() bool { return !h.HasLink(h.WG) })
		must(t, h.StartDaemon(ours))
		command(t, h.NS, "wg", "show", h.WG)
	})
}

// Android and others open interface and socket themselves and hand them down.
func TestHandedDownDescriptors(t *testing.T) {
	for _, mode := range []struct{ name, env string }{{"in the foreground", "WG_PROCESS_FOREGROUND=1"}, {"daemonizing", "WG_PROCESS_FOREGROUND="}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			p := newLink(t, options{})
			must(t, p.right.StartDaemon(ours))
			tun := tunFile(t, p.left.NS, p.left.WG)
			socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: nstest.SocketPath(p.left.WG), Net: "unix"})
			must(t, err)
			socket.SetUnlinkOnClose(false)
			listener, err := socket.File()
			must(t, err)
			d, err := p.left.Start(nstest.Command{
				Args: daemon(p.left.WG), Env: []string{mode.env, "WG_TUN_FD=3", "WG_UAPI_FD=4"}, Files: []*os.File{tun, listener},
			})
			// From here on the daemon alone has them.
			must(t, err, tun.Close(), listener.Close(), socket.Close())
			if mode.name == "daemonizing" {
				must(t, d.Wait(patience))
			}
			eventually(t, patience, "it serves", func() bool { return nstest.Answers(p.left.WG) })
			p.configure(t, options{})
			must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
			pings(t, p.left.NS, rightTun4, 3)
			iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "8M")
			must(t, p.left.IP("link del "+p.left.WG))
			eventually(t, patience, "it ends", func() bool { return len(p.lab.Processes()) == 1 }) // right's is left
		})
	}
}

// tunFile makes a TUN interface as programs do that start a daemon for it.
func tunFile(t *testing.T, n *nstest.NS, name string) *os.File {
	t.Helper()
	request, err := unix.NewIfreq(name)
	must(t, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	fd := -1
	must(t, n.Do(func() error { // the namespace of the one who opens counts
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}))
	return os.NewFile(uintptr(fd), name)
}

func TestNameFile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h, err := l.NewHost("host")
	file := filepath.Join(l.Dir, "name")
	must(t, err, h.StartDaemon(ours, "WG_TUN_NAME_FILE="+file))
	if name, err := os.ReadFile(file); err != nil || string(name) != h.WG+"\n" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	h, err := l.NewHost("host")
	must(t, err)
	t.Run("-f stays in the foreground", func(t *testing.T) {
		for _, flag := range []string{"-f", "--foreground"} {
			p, err := h.Start(nstest.Command{Args: daemon(flag, h.WG)})
			must(t, err)
			eventually(t, patience, "it serves", func() bool { return nstest.Answers(h.WG) })
			if !p.Alive() {
				t.Errorf("%s: it went to the background", flag)
			}
			if s := p.Stderr() + p.Stdout(); s != "" {
				t.Errorf("%s: it prints %q", flag, s)
			}
			must(t, p.Stop())
			if err := p.Wait(0); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("--version and --help end with 0", func(t *testing.T) {
		for _, flag := range []string{"--version", "--help"} {
			if out := command(t, h.NS, daemon(flag)...); !strings.Contains(out, "culvert") {
				t.Errorf("%s prints %q", flag, out)
			}
		}
	})
	t.Run("nonsense is refused", func(t *testing.T) {
		for _, args := range [][]string{{}, {""}, {"two", "names"}, {"--no-such-flag", h.WG}, {"a-name-of-more-than-15-bytes"}, {"a/b"}, {"."}, {".."}, {"a b"}} {
			p, err := h.Start(nstest.Command{Args: daemon(args...), Env: []string{"WG_PROCESS_FOREGROUND=1"}})
			must(t, err)
			if err := p.Wait(patience); err == nil || p.Alive() || p.Stderr() == "" {
				t.Errorf("%q: %v", args, err)
				p.Stop()
			}
		}
	})
}
