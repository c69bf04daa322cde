//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// wgStdin runs a wg(8) command that reads a file.
func wgStdin(t *testing.T, h *nstest.Host, input, subcommand string) {
	t.Helper()
	_, err := h.RunInput(input, "wg", subcommand, h.WG, "/dev/stdin")
	must(t, err)
}

func TestWG(t *testing.T) {
	t.Run("setconf, addconf, syncconf and set say what showconf shows", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		h, err := l.NewHost("host")
		must(t, err, h.StartDaemon(ours))
		a, b := nstest.NewKeys().Public, nstest.NewKeys().Public
		iface := "[Interface]\nListenPort = 40500\nFwMark = 0xca6c\nPrivateKey = " + h.Private + "\n\n"
		peerA := "[Peer]\nPublicKey = " + a + "\nPresharedKey = " + nstest.NewPSK() +
			"\nAllowedIPs = 10.1.0.0/16, fd01::/64\nEndpoint = 10.0.0.2:1111\nPersistentKeepalive = 25\n"
		peerB := "[Peer]\nPublicKey = " + b + "\nAllowedIPs = 10.2.0.0/16\nEndpoint = [fd00::2]:2222\n"
		wants := func(after, want string) {
			t.Helper()
			got := command(t, h.NS, "wg", "showconf", h.WG)
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("after %s:\n%s\nnot\n%s", after, got, want)
			}
		}
		wgStdin(t, h, iface+peerA, "setconf")
		wants("setconf", iface+peerA)
		wgStdin(t, h, peerB, "addconf")
		wants("addconf", iface+peerA+"\n"+peerB)
		wgStdin(t, h, iface+peerB, "syncconf")
		wants("syncconf", iface+peerB)
		command(t, h.NS, "wg", "set", h.WG, "peer", b, "persistent-keepalive", "9", "allowed-ips", "10.3.0.0/16,10.2.0.0/16")
		wants("set", iface+strings.Replace(peerB, "10.2.0.0/16", "10.3.0.0/16, 10.2.0.0/16", 1)+"PersistentKeepalive = 9\n")
		command(t, h.NS, "wg", "set", h.WG, "peer", b, "remove")
		wants("remove", iface)
		wgStdin(t, h, iface+peerB+"\n"+peerA, "setconf")
		wants("setconf with the peers the other way round", iface+peerB+"\n"+peerA)
		// An address given to another peer leaves the first.
		command(t, h.NS, "wg", "set", h.WG, "peer", a, "allowed-ips", "10.2.0.0/16")
		if got := command(t, h.NS, "wg", "show", h.WG, "allowed-ips"); got != b+"\t(none)\n"+a+"\t10.2.0.0/16\n" {
			t.Errorf("allowed-ips: %q", got)
		}
	})
	t.Run("dump and show", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{psk: true})
		pings(t, p.left.NS, rightTun4, 1)
		command(t, p.left.NS, "wg", "set", p.left.WG, "fwmark", "0x33", "peer", p.right.Public, "persistent-keepalive", "25")
		dump := strings.Split(strings.TrimSpace(command(t, p.left.NS, "wg", "show", p.left.WG, "dump")), "\n")
		if want := fmt.Sprintf("%s\t%s\t%d\t0x33", p.left.Private, p.left.Public, leftPort); dump[0] != want || len(dump) != 2 {
			t.Errorf("%q, the first not %q", dump, want)
		}
		s := peer(t, p.left, p.right)
		if s.AllowedIPs != rightTun4+"/32,"+rightTun6+"/128" || s.Keepalive != "25" || s.Endpoint != endpoint(rightIP4, rightPort) || s.Handshake == 0 {
			t.Errorf("%+v", s)
		}
		show := command(t, p.left.NS, "wg", "show", p.left.WG)
		for _, want := range []string{
			`interface: ` + p.left.WG, `public key: ` + regexp.QuoteMeta(p.left.Public), `private key: \(hidden\)`, `listening port: 51821`, `fwmark: 0x33`,
			`peer: ` + regexp.QuoteMeta(p.right.Public), `preshared key: \(hidden\)`, `endpoint: 10\.0\.0\.2:51822`, `allowed ips: 192\.168\.77\.2/32, fd77::2/128`,
			`latest handshake: (Now|\d+ seconds? ago)`, `transfer: \d+ B received, \d+ B sent`, `persistent keepalive: every 25 seconds`,
		} {
			if !regexp.MustCompile(`(?m)^ *` + want + `$`).MatchString(show) {
				t.Errorf("no line %s in\n%s", want, show)
			}
		}
		if all := strings.Fields(command(t, p.left.NS, "wg", "show", "interfaces")); !contains(all, p.left.WG) || !contains(all, p.right.WG) {
			t.Errorf("interfaces: %q", all)
		}
	})
	t.Run("syncconf of what is there keeps the session", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{psk: true})
		pings(t, p.left.NS, rightTun4, 1)
		before := peer(t, p.left, p.right)
		wgStdin(t, p.left, command(t, p.left.NS, "wg", "showconf", p.left.WG), "syncconf")
		pings(t, p.left.NS, rightTun4, 1)
		if after := peer(t, p.left, p.right); after.TX-before.TX != 128 || after.RX-before.RX != 128 {
			t.Errorf("a ping took %d and %d bytes, not 128 each", after.TX-before.TX, after.RX-before.RX)
		}
	})
	t.Run("a new endpoint without a session is tried at once", func(t *testing.T) {
		t.Parallel()
		p := newLink(t, options{})
		p.start(t, options{})
		p.configure(t, options{})
		must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
		setEndpoint(t, p.left, p.right, "10.0.0.99:1") // nobody there
		_, err := p.left.Start(nstest.Command{Args: []string{"ping", "-n", "-c", "1", "-W", "4", rightTun4}})
		must(t, err)
		eventually(t, patience, "an initiation to nowhere", func() bool { return peer(t, p.left, p.right).TX >= 148 })
		setEndpoint(t, p.left, p.right, endpoint(rightIP4, rightPort))
		eventually(t, 2500*time.Millisecond, "a handshake before the retry that is due after 5 s", func() bool { return peer(t, p.left, p.right).Handshake != 0 })
	})
}

func contains(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// wg-quick brings up a tunnel that takes the default route, with our daemon in
// place of a kernel module, and takes it down without a trace.
func TestWGQuick(t *testing.T) {
	t.Parallel()
	p := newLink(t, options{})
	must(t, p.right.StartDaemon(ours))
	const far4, far6 = "203.0.113.9", "2001:db8::9"
	must(t,
		p.right.Configure(fmt.Sprintf("ListenPort = %d\n", rightPort)+section(p.left, leftTun4, leftTun6)),
		p.right.Up(1420, rightTun4+"/24", rightTun6+"/64"),
		p.right.IP(nstest.AddAddress(far4+"/32", "lo"), nstest.AddAddress(far6+"/128", "lo")), p.right.Ready(far6),
	)
	quick := quickScript(t, p.lab)
	conf := filepath.Join(p.lab.Dir, p.left.WG+".conf")
	must(t, os.WriteFile(conf, []byte(fmt.Sprintf(`[Interface]
PrivateKey = %s
Address = %s/24, %s/64
[Peer]
PublicKey = %s
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = %s
PersistentKeepalive = 25
`, p.left.Private, leftTun4, leftTun6, p.right.Public, endpoint(rightIP4, rightPort))), 0o600))
	wgQuick := func(what string) {
		t.Helper()
		_, err := p.left.RunCommand(nstest.Command{
			// A kernel that has the module must not be asked for it.
			Args:        []string{"sh", "-c", "mount -t tmpfs none /sys/module && exec " + quick + " " + what + " " + conf},
			Env:         []string{"WG_QUICK_USERSPACE_IMPLEMENTATION=" + ours.Args[0]},
			SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
		})
		must(t, err)
	}
	rulesBefore := command(t, p.left.NS, "ip", "rule") + command(t, p.left.NS, "ip", "-6", "rule")
	for range 2 {
		wgQuick("up")
		must(t, p.left.Ready(leftTun4, leftTun6))
		for _, to := range []string{rightTun4, far4, rightTun6, far6} {
			pings(t, p.left.NS, to, 2)
		}
		iperf(t, p.left.NS, p.right.NS, far4, "-n", "8M")
		wgQuick("down")
		eventually(t, patience, "the daemon has ended", func() bool { return len(p.lab.Processes()) == 1 }) // right's is left
		if _, err := os.Lstat(nstest.SocketPath(p.left.WG)); !os.IsNotExist(err) || p.left.HasLink(p.left.WG) {
			t.Error("socket or interface is left")
		}
		if rules := command(t, p.left.NS, "ip", "rule") + command(t, p.left.NS, "ip", "-6", "rule"); rules != rulesBefore {
			t.Errorf("rules are left: %s", rules)
		}
	}
}

// quickScript is a copy of wg-quick beside an ip(8) that cannot make kernel
// WireGuard interfaces: wg-quick puts its own directory first in PATH.
func quickScript(t *testing.T, l *nstest.Lab) string {
	t.Helper()
	path, err := exec.LookPath("wg-quick")
	must(t, err)
	script, err := os.ReadFile(path)
	must(t, err)
	ip, err := exec.LookPath("ip")
	must(t, err)
	dir := filepath.Join(l.Dir, "bin")
	quick := filepath.Join(dir, "wg-quick")
	wrapper := "#!/bin/sh\ncase \"$*\" in *'type wireguard'*) exit 1;; esac\nexec " + ip + " \"$@\"\n"
	must(t, os.Mkdir(dir, 0o700), os.WriteFile(quick, script, 0o700), os.WriteFile(filepath.Join(dir, "ip"), []byte(wrapper), 0o700))
	return quick
}
