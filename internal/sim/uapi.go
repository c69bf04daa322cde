package sim

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"culvert/device"
	"culvert/ipc"
)

// uapi is a node's configuration socket: the real server on pipes in memory.
type uapi struct {
	server *ipc.Server
	pipes  *pipes
}

func serve(d *device.Device) *uapi {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	return &uapi{ipc.Serve(p, d, nil), p}
}

// close ends the server.
func (u *uapi) close() { u.server.Close() }

// ask makes a request, as wg(8) does with a connection of its own, and gives the
// lines of the reply.
func (u *uapi) ask(request string) (lines []string) {
	c, s := net.Pipe()
	defer c.Close()
	u.pipes.conns <- s
	if _, err := c.Write([]byte(request + "\n")); err != nil {
		return []string{"errno=" + err.Error()}
	}
	scanner := bufio.NewScanner(c)
	for scanner.Scan() && scanner.Text() != "" {
		lines = append(lines, scanner.Text())
	}
	return lines
}

// set applies a text and gives the last line of the reply.
func (u *uapi) set(text string) string {
	lines := u.ask("set=1\n" + text)
	if len(lines) == 0 {
		return "no reply"
	}
	return lines[len(lines)-1]
}

// pipes is a listener whose clients are in this process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements [net.Listener].
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "sim", Net: "unix"} }

// section is the lines that make a node have a peer as the model has it. endpoint
// invalid: none is named.
func (p *peer) section(endpoint netip.AddrPort) string {
	var b strings.Builder
	fmt.Fprintf(&b, "public_key=%s\npreshared_key=%s\n", hex.EncodeToString(p.pub[:]), hex.EncodeToString(p.psk[:]))
	if endpoint.IsValid() {
		fmt.Fprintf(&b, "endpoint=%v\n", endpoint)
	}
	fmt.Fprintf(&b, "persistent_keepalive_interval=%d\nreplace_allowed_ips=true\n", p.keepalive)
	for _, a := range p.prefixes {
		fmt.Fprintf(&b, "allowed_ip=%v\n", a)
	}
	return b.String()
}

// hex is the peer's key as the UAPI writes it.
func (p *peer) hex() string { return hex.EncodeToString(p.pub[:]) }
