//go:build linux

package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"culvert/device/config"
	"culvert/internal/load"
	"culvert/internal/nstest"
)

// maxPeers leaves an address for the probe and one for the far end of the tunnel.
const maxPeers = load.MaxClients - 2

// answerTime is how long a daemon may take for an answer.
const answerTime = 2 * time.Minute

// uapi is a conversation with a daemon.
type uapi struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	line []byte
}

func dial(name string) (*uapi, error) {
	c, err := net.Dial("unix", nstest.SocketPath(name))
	if err != nil {
		return nil, err
	}
	return &uapi{conn: c, r: bufio.NewReaderSize(c, 1<<18), w: bufio.NewWriterSize(c, 1<<18)}, nil
}

func (u *uapi) close() { u.conn.Close() }

// peer is what is set of a peer.
type peer struct {
	key       config.PublicKey
	inner     netip.Addr
	endpoint  netip.AddrPort // invalid: none
	keepalive int            // persistent, in seconds; 0: none
}

// put adds to the request. Errors of the writer are found by end.
func (u *uapi) put(line string) { u.w.WriteString(line) }

// putPeer adds a peer with two allowed IPs: its IPv4 address, and an IPv6 one that has
// the same last bytes.
func (u *uapi) putPeer(p peer) {
	b := append(u.line[:0], "public_key="...)
	b = hex.AppendEncode(b, p.key[:])
	b = append(b, "\nreplace_allowed_ips=true\nallowed_ip="...)
	b = append(p.inner.AppendTo(b), "/32\nallowed_ip="...)
	v6 := [16]byte{0xfd}
	v4 := p.inner.As4()
	copy(v6[12:], v4[:])
	b = append(netip.AddrFrom16(v6).AppendTo(b), "/128\n"...)
	if p.endpoint.IsValid() {
		b = append(p.endpoint.AppendTo(append(b, "endpoint="...)), '\n')
	}
	if p.keepalive > 0 {
		b = append(strconv.AppendInt(append(b, "persistent_keepalive_interval="...), int64(p.keepalive), 10), '\n')
	}
	u.line = b
	u.w.Write(b)
}

// removePeer removes one.
func (u *uapi) removePeer(k config.PublicKey) {
	u.put("public_key=" + hex.EncodeToString(k[:]) + "\nremove=true\n")
}

// end ends the request, and reads the answer, line by line. An errno that is not 0 is
// an error.
func (u *uapi) end(line func([]byte)) error {
	u.put("\n")
	if err := u.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if err := u.w.Flush(); err != nil {
		return fmt.Errorf("the daemon took no request: %w", err)
	}
	errno := ""
	for {
		l, err := u.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		switch rest, ok := strings.CutPrefix(string(l), "errno="); {
		case ok:
			errno = strings.TrimSpace(rest)
		case len(l) == 1 && errno == "0":
			return nil
		case len(l) == 1:
			return fmt.Errorf("the daemon answers errno=%s", errno)
		default:
			line(l)
		}
	}
}

// set ends a request that answers with nothing but errno.
func (u *uapi) set() error { return u.end(func([]byte) {}) }

// peers reads everything and counts the peers.
func (u *uapi) peers() (n int, err error) {
	u.put("get=1\n")
	err = u.end(func(l []byte) {
		if strings.HasPrefix(string(l), "public_key=") {
			n++
		}
	})
	return n, err
}

// putInterface begins a request that sets everything.
func (u *uapi) putInterface(k config.PrivateKey, port int) {
	u.put("set=1\nprivate_key=" + hex.EncodeToString(k[:]) + "\nlisten_port=" + strconv.Itoa(port) + "\nreplace_peers=true\n")
}
