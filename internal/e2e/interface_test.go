//go:build linux

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"culvert/internal/nstest"
)

func TestInterfaceDownAndUp(t *testing.T) {
	t.Run("before the first up no port is bound", func(t *testing.T) {
		t.Parallel()
		p := newLink(t, options{})
		p.start(t, options{})
		p.configure(t, options{})
		if ports := p.left.Ports("udp"); len(ports) != 0 {
			t.Errorf("bound to %v", ports)
		}
	})
	t.Run("down releases the port and ends the session, up brings both back", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		pings(t, p.left.NS, rightTun4, 2)
		sent := peer(t, p.left, p.right).TX
		must(t, p.left.IP("link set "+p.left.WG+" down"))
		eventually(t, patience, "the port is released", func() bool { return !p.left.Bound("udp", leftPort) })
		if got := command(t, p.left.NS, "wg", "show", p.left.WG, "listen-port"); got != fmt.Sprintln(leftPort) {
			t.Errorf("while down the listen port is shown as %s", got)
		}
		must(t, p.left.IP("link set "+p.left.WG+" up"), p.left.Listening())
		pings(t, p.left.NS, rightTun4, 2)
		if now := peer(t, p.left, p.right).TX - sent; now < 148+2*128 {
			t.Errorf("%d bytes sent: no new handshake", now)
		}
	})
	t.Run("a peer that lost its session is answered from the first packet on", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		for i := range 10 {
			// Three pings take 400 ms: initiations that come within 20 ms are refused.
			if n := ping(t, p.left.NS, rightTun4, 3); n != 3 {
				t.Fatalf("session %d: %d of 3 answered", i+1, n)
			}
			must(t, p.left.IP("link set "+p.left.WG+" down"))
			eventually(t, patience, "the port is released", func() bool { return !p.left.Bound("udp", leftPort) })
			must(t, p.left.IP("link set "+p.left.WG+" up"), p.left.Listening())
		}
	})
	t.Run("what is configured while down is there when up", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		must(t, p.left.IP("link set "+p.left.WG+" down"))
		eventually(t, patience, "the port is released", func() bool { return !p.left.Bound("udp", leftPort) })
		command(t, p.left.NS, "wg", "set", p.left.WG, "listen-port", "51777")
		if p.left.Bound("udp", 51777) {
			t.Error("a port is bound while the interface is down")
		}
		must(t, p.left.IP("link set "+p.left.WG+" up"), p.left.Listening())
		if !p.left.Bound("udp", 51777) {
			t.Error("the new port is not bound")
		}
		pings(t, p.left.NS, rightTun4, 2)
	})
}

// endsWell waits for the daemon to end with status 0 and to leave neither
// interface nor socket.
func endsWell(t *testing.T, h *nstest.Host) {
	t.Helper()
	must(t, h.Daemon.Wait(patience))
	if _, err := os.Lstat(nstest.SocketPath(h.WG)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if h.HasLink(h.WG) {
		t.Error("the interface is left")
	}
}

// What ends a daemon, and what does not.
func TestEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(h *nstest.Host) error
	}{
		{"the interface is deleted", func(h *nstest.Host) error { return h.IP("link del " + h.WG) }},
		{"the socket file is deleted", func(h *nstest.Host) error { return os.Remove(nstest.SocketPath(h.WG)) }},
		{"SIGTERM", func(h *nstest.Host) error { return h.Daemon.Signal(syscall.SIGTERM) }},
		{"SIGINT", func(h *nstest.Host) error { return h.Daemon.Signal(syscall.SIGINT) }},
	} {
		t.Run(c.name+" and the daemon ends with status 0", func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{})
			pings(t, p.left.NS, rightTun4, 1)
			must(t, c.do(p.left))
			endsWell(t, p.left)
		})
		t.Run(c.name+" under load and the daemon ends with status 0", func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{})
			load, err := nstest.StartIperf(p.left.NS, p.right.NS, rightTun4, "-t", "20", "-b", "500M", "--bidir")
			must(t, err)
			eventually(t, patience, "traffic flows", func() bool { return peer(t, p.left, p.right).RX > 1<<20 })
			must(t, c.do(p.left))
			endsWell(t, p.left)
			load.Stop()
		})
	}
	t.Run("SIGHUP ends it, unless it was started with that ignored", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err)
		for how, why := range map[string]string{"--ignore-signal=HUP": "terminated", "--default-signal=HUP": "hangup"} {
			h.Daemon, err = h.Start(nstest.Command{Args: append([]string{"env", how, "WG_PROCESS_FOREGROUND=1"}, daemon(h.WG)...)})
			must(t, err)
			eventually(t, patience, "it serves", func() bool { return nstest.Answers(h.WG) })
			must(t, h.Daemon.Signal(syscall.SIGHUP))
			if how == "--ignore-signal=HUP" {
				must(t, h.Daemon.Signal(syscall.SIGUSR1))
				eventually(t, patience, "it goes on", func() bool { return strings.Contains(h.Daemon.Stderr(), "log level changed") })
				must(t, h.Daemon.Signal(syscall.SIGTERM))
			}
			endsWell(t, h)
			if log := h.Daemon.Stderr(); !strings.Contains(log, "why="+why) {
				t.Errorf("%s: it does not end as it is %s: %s", how, why, log)
			}
		}
	})
	t.Run("chmod, chown and utime of the socket do not end the daemon", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{})
		socket := nstest.SocketPath(p.left.WG)
		for range 3 {
			must(t, os.Chmod(socket, 0o660), os.Chown(socket, 1, 1), os.Chmod(socket, 0o600), os.Chown(socket, 0, 0))
			command(t, p.left.NS, "touch", socket)
			pings(t, p.left.NS, rightTun4, 1)
			command(t, p.left.NS, "wg", "show", p.left.WG)
		}
		if !p.left.Daemon.Alive() {
			t.Errorf("the daemon ended: %v", p.left.Daemon.Wait(0))
		}
	})
}

// A daemon without -f returns when its interface may be moved. The sockets
// stay where it was started, and so the tunnel is the only way out of the
// namespace the interface went to.
func TestInterfaceMovedToAnotherNamespaceAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 { // a race would not show every time
		p := newLink(t, options{})
		must(t, p.right.StartDaemon(ours))
		parent, err := p.left.Start(nstest.Command{Args: daemon(p.left.WG), Env: ours.Env})
		must(t, err, parent.Wait(patience))
		p.left.Daemon = parent // the daemon writes to its standard error
		inner, err := p.lab.Namespace("inner")
		must(t, err, p.left.IP("link set "+p.left.WG+" netns "+inner.Path))
		p.configure(t, options{})
		outside := p.left.NS
		p.left.NS, p.left.Sockets = inner, outside
		must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
		pings(t, inner, rightTun4, 2)
		if !outside.Bound("udp", leftPort) || inner.Bound("udp", leftPort) {
			t.Errorf("bound to %v outside and %v inside", outside.Ports("udp"), inner.Ports("udp"))
		}
		must(t, inner.IP("link set "+p.left.WG+" mtu 1300"))
		pings(t, inner, rightTun4, 1, "-s", "1272", "-M", "do")
		must(t, inner.IP("link set "+p.left.WG+" down"))
		eventually(t, patience, "down is noticed", func() bool { return !outside.Bound("udp", leftPort) })
		must(t, inner.IP("link set "+p.left.WG+" up"), p.left.Listening())
		pings(t, inner, rightTun4, 1)
		must(t, inner.IP("link del "+p.left.WG))
		eventually(t, patience, "the daemon ends", func() bool {
			_, err := os.Lstat(nstest.SocketPath(p.left.WG))
			return os.IsNotExist(err)
		})
	}
}

// fwmarkTable counts what leaves with and without the mark.
const fwmarkTable = `
table inet e2e {
	counter marked {}
	counter plain {}
	chain out {
		type filter hook output priority 0;
		udp dport 51822 meta mark 0x123 counter name marked
		udp dport 51822 meta mark != 0x123 counter name plain
	}
}`

func TestFwmark(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("over IPv%d", family(outer6)), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, options{outer6: outer6, before: func(left, _ *nstest.Host) { must(t, left.NFT(fwmarkTable)) }})
			counters := func() map[string]int64 {
				n, err := p.left.Counters("inet", "e2e")
				must(t, err)
				return n
			}
			pings(t, p.left.NS, rightTun4, 3)
			if n := counters(); n["marked"] != 0 || n["plain"] < 4 {
				t.Errorf("without a mark: %v", n)
			}
			command(t, p.left.NS, "wg", "set", p.left.WG, "fwmark", "0x123")
			before := counters()
			pings(t, p.left.NS, rightTun4, 3)
			if n := counters(); n["plain"] != before["plain"] || n["marked"] < 3 {
				t.Errorf("with a mark: %v, before %v", n, before)
			}
			command(t, p.left.NS, "wg", "set", p.left.WG, "fwmark", "off")
			before = counters()
			pings(t, p.left.NS, rightTun4, 3)
			if n := counters(); n["marked"] != before["marked"] {
				t.Errorf("the mark taken off: %v, before %v", n, before)
			}
			if got := strings.TrimSpace(command(t, p.left.NS, "wg", "show", p.left.WG, "fwmark")); got != "off" {
				t.Errorf("shown as %s", got)
			}
		})
	}
}
