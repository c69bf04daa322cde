//go:build linux

package nstest

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Program is a WireGuard daemon: it is run as Args plus the interface name.
type Program struct {
	Name string
	Args []string
	Env  []string
	// Kernel is set where there is nothing to run: the interface is the kernel's own.
	Kernel bool
}

// Kernel is the kernel's own WireGuard, which makes an interface without a daemon: [Host.Daemon] stays nil.
var Kernel = Program{Name: "the kernel", Kernel: true}

// Keys is a Curve25519 key pair in wg(8)'s base64 form, for one run only. [Lab.Close] fails where the private one
// is in the output of a program that does not show keys by trade; so with a preshared key of NewPSK.
type Keys struct{ Private, Public string }

// NewKeys makes a random key pair.
func NewKeys() Keys {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // rand.Reader does not fail
	}
	private := k.Bytes()
	private[0], private[31] = private[0]&248, private[31]&127|64 // as wg(8) shows it: RFC 7748, section 5
	return Keys{secret("private key", private), base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())}
}

// NewPSK makes a random preshared key in wg(8)'s base64 form.
func NewPSK() string {
	b := make([]byte, 32)
	rand.Read(b)
	return secret("preshared key", b)
}

// Host is a namespace with a WireGuard interface served by a daemon in it.
type Host struct {
	*NS
	Keys
	// WG is the name of the WireGuard interface.
	WG string
	// Sockets is where the daemon was started if that is another namespace.
	Sockets *NS
	// Daemon serves it, in the foreground. Nil until StartDaemon, and for Kernel.
	Daemon *Process
}

// NewHost makes a host in a namespace of its own, without starting a daemon.
func (l *Lab) NewHost(label string) (*Host, error) {
	n, err := l.Namespace(label)
	if err != nil {
		return nil, err
	}
	return &Host{NS: n, Keys: NewKeys(), WG: l.Name()}, nil
}

// StartDaemon starts the daemon in the foreground and waits until its UAPI
// socket answers, at most 10 s. With [Kernel] it makes the interface.
func (h *Host) StartDaemon(p Program, env ...string) error {
	if p.Kernel {
		return h.IP("link add " + h.WG + " type wireguard")
	}
	d, err := h.Start(Command{
		Args: append(append([]string(nil), p.Args...), h.WG),
		Env:  append(append([]string{"WG_PROCESS_FOREGROUND=1", "LOG_LEVEL=error"}, p.Env...), env...),
	})
	if err != nil {
		return err
	}
	h.Daemon = d
	Eventually(10*time.Second, func() bool { return !d.Alive() || Answers(h.WG) })
	if !d.Alive() {
		return fmt.Errorf("%s ended at once: %w", p.Name, d.Wait(0))
	}
	if !Answers(h.WG) {
		return fmt.Errorf("%s: nobody answers on %s", p.Name, SocketPath(h.WG))
	}
	return nil
}

// Answers reports whether somebody accepts connections on the UAPI socket of
// that interface.
func Answers(name string) bool {
	c, err := net.Dial("unix", SocketPath(name))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Configure replaces the configuration of the interface (wg setconf). The
// private key is put in front of text, which starts inside [Interface].
func (h *Host) Configure(text string) error {
	conf := "[Interface]\nPrivateKey = " + h.Private + "\n" + text
	_, err := h.RunInput(conf, "wg", "setconf", h.WG, "/dev/stdin")
	return err
}

// Up gives the interface its addresses (with prefix length) and MTU, sets it
// up and waits until the daemon has noticed and bound a port in the namespace
// it was started in. The addresses can be used then.
func (h *Host) Up(mtu int, addresses ...string) error {
	lines := []string{fmt.Sprintf("link set %s mtu %d", h.WG, mtu)}
	for _, a := range addresses {
		lines = append(lines, AddAddress(a, h.WG))
	}
	if err := h.IP(append(lines, "link set "+h.WG+" up")...); err != nil {
		return err
	}
	if err := h.Ready(addresses...); err != nil {
		return err
	}
	return h.Listening()
}

// Listening waits until the port that wg(8) shows is bound.
func (h *Host) Listening() error {
	out, err := h.Run("wg", "show", h.WG, "listen-port")
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return err
	}
	where := h.NS
	if h.Sockets != nil {
		where = h.Sockets
	}
	if !Eventually(10*time.Second, func() bool { return where.Bound("udp", port) }) {
		return fmt.Errorf("%s: port %d is not bound 10 s after %s was set up", h.Label, port, h.WG)
	}
	// The sockets are the first part of going up; an answer comes after the rest.
	_, err = h.Run("wg", "show", h.WG, "dump")
	return err
}

// Ready waits until the namespace takes packets to these addresses of its own
// (a prefix length is ignored). The kernel makes the local route of an IPv6
// address in a work queue, also without duplicate address detection.
func (n *NS) Ready(addresses ...string) error {
	for _, a := range addresses {
		address, _, _ := strings.Cut(a, "/")
		if !Eventually(10*time.Second, func() bool {
			out, err := n.Run("ip", "route", "get", address)
			return err == nil && strings.HasPrefix(out, "local ")
		}) {
			return fmt.Errorf("%s: %s is not a local address after 10 s", n.Label, address)
		}
	}
	return nil
}

// AddAddress is the line for ip(8) that adds an address. An IPv6 address can
// be used once Ready returns.
func AddAddress(address, dev string) string {
	line := "addr add " + address + " dev " + dev
	if strings.Contains(address, ":") {
		line += " nodad"
	}
	return line
}

// PeerStatus is a peer's line of `wg show IF dump`.
type PeerStatus struct {
	PublicKey, PresharedKey, Endpoint, AllowedIPs string
	Handshake                                     int64 // seconds since 1970, 0: none
	RX, TX                                        int64 // bytes
	Keepalive                                     string
}

// Peers reads the peers of the interface with wg(8), by public key.
func (h *Host) Peers() (map[string]PeerStatus, error) {
	out, err := h.Run("wg", "show", h.WG, "dump")
	if err != nil {
		return nil, err
	}
	peers := make(map[string]PeerStatus)
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue // the interface
		}
		if len(f) != 8 {
			return nil, fmt.Errorf("wg show dump: %d fields, not 8: %q", len(f), line)
		}
		number := func(s string) (n int64) { n, _ = strconv.ParseInt(s, 10, 64); return n }
		peers[f[0]] = PeerStatus{f[0], f[1], f[2], f[3], number(f[4]), number(f[5]), number(f[6]), f[7]}
	}
	return peers, nil
}
