//go:build linux

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/internal/nstest"
)

// uapi sends one request to the daemon's socket and returns the reply without
// its last, empty line.
func uapi(t *testing.T, h *nstest.Host, request string) string {
	t.Helper()
	c, err := net.Dial("unix", nstest.SocketPath(h.WG))
	must(t, err)
	defer c.Close()
	return talk(t, c, bufio.NewReader(c), request)
}

// talk is uapi on a connection that is open already.
func talk(t *testing.T, c net.Conn, r *bufio.Reader, request string) string {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write([]byte(request))
	must(t, err)
	return readReply(t, r)
}

func readReply(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var reply strings.Builder
	for {
		line, err := r.ReadString('\n')
		must(t, err)
		if line == "\n" {
			return reply.String()
		}
		reply.WriteString(line)
	}
}

// errno reads the error number at the end of a reply.
func errno(t *testing.T, reply string) int {
	t.Helper()
	_, text, found := strings.Cut("\n"+reply, "\nerrno=")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if !found || err != nil {
		t.Fatalf("no errno in %q", reply)
	}
	return n
}

func hexKey(base64Key string) string {
	b, err := base64.StdEncoding.DecodeString(base64Key)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// aPeer begins the section of a peer that does not exist yet.
var aPeer = "public_key=" + strings.Repeat("ab", 32) + "\n"

// badSets are requests that set must refuse: each after a good line for a new
// peer or none, to see that nothing of it is done.
var badSets = []struct{ name, lines string }{
	{"unknown key", "colour=blue"},
	{"unknown key of a peer", aPeer + "colour=blue"},
	{"no value", "listen_port"},
	{"no key", "=5"},
	{"blanks", "listen_port = 5"},
	{"carriage return", "listen_port=5\r"},
	{"upper case key", "LISTEN_PORT=5"},
	{"empty private key", "private_key="},
	{"short private key", "private_key=" + strings.Repeat("ab", 31)},
	{"long private key", "private_key=" + strings.Repeat("ab", 33)},
	{"private key not in hexadecimal", "private_key=" + strings.Repeat("xy", 32)},
	{"private key in base64", "private_key=" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
	{"short public key", "public_key=abcd"},
	{"public key of odd length", "public_key=" + strings.Repeat("a", 63)},
	{"public key not in hexadecimal", "public_key=" + strings.Repeat("xy", 32)},
	{"short preshared key", aPeer + "preshared_key=ab"},
	{"preshared key not in hexadecimal", aPeer + "preshared_key=" + strings.Repeat("xy", 32)},
	{"port a word", "listen_port=http"},
	{"port too large", "listen_port=65536"},
	{"port negative", "listen_port=-1"},
	{"port empty", "listen_port="},
	{"mark a word", "fwmark=red"},
	{"mark too large", "fwmark=4294967296"},
	{"mark negative", "fwmark=-1"},
	{"endpoint empty", aPeer + "endpoint="},
	{"endpoint without port", aPeer + "endpoint=10.0.0.9"},
	{"endpoint with a port too large", aPeer + "endpoint=10.0.0.9:65536"},
	{"endpoint with a bad address", aPeer + "endpoint=10.0.0.256:1"},
	{"endpoint without brackets", aPeer + "endpoint=fd00::9:1"},
	{"endpoint a name", aPeer + "endpoint=localhost:1"},
	{"keepalive a word", aPeer + "persistent_keepalive_interval=often"},
	{"keepalive too large", aPeer + "persistent_keepalive_interval=65536"},
	{"keepalive negative", aPeer + "persistent_keepalive_interval=-1"},
	{"allowed IP empty", aPeer + "allowed_ip="},
	{"allowed IP a word", aPeer + "allowed_ip=all"},
	{"allowed IP of 33 bits", aPeer + "allowed_ip=10.0.0.0/33"},
	{"allowed IP of 129 bits", aPeer + "allowed_ip=fd00::/129"},
	{"allowed IP of -1 bits", aPeer + "allowed_ip=10.0.0.0/-1"},
	{"peer's key before any peer", "allowed_ip=10.0.0.0/8"},
	{"device's key after a peer", aPeer + "listen_port=5"},
	{"replace_peers not true", "replace_peers=false"},
	{"replace_allowed_ips not true", aPeer + "replace_allowed_ips=no"},
	{"remove not true", aPeer + "remove=yes"},
	{"update_only not true", aPeer + "update_only=1"},
	{"protocol version 2", aPeer + "protocol_version=2"},
	{"an operation inside another", "set=1"},
}

func TestUAPI(t *testing.T) {
	t.Parallel()
	p := newPair(t, options{psk: true})
	pings(t, p.left.NS, rightTun4, 1)
	config := func() string {
		return command(t, p.left.NS, "wg", "showconf", p.left.WG)
	}
	before := config()
	t.Run("a set with a bad line gives a negative errno and changes nothing", func(t *testing.T) {
		for _, bad := range badSets {
			// Good lines come first, and one that would show after it.
			request := "set=1\nfwmark=77\n" + bad.lines + "\n" + "public_key=" + strings.Repeat("cd", 32) + "\n\n"
			if n := errno(t, uapi(t, p.left, request)); n >= 0 {
				t.Errorf("%s: errno=%d", bad.name, n)
			}
			if after := config(); after != before {
				t.Fatalf("%s: the configuration became %s", bad.name, after)
			}
		}
	})
	t.Run("a port in use is EADDRINUSE", func(t *testing.T) {
		taken := udpSocket(t, p.left.NS, ":0")
		if n := errno(t, uapi(t, p.left, fmt.Sprintf("set=1\nlisten_port=%d\n\n", taken))); n != -int(syscall.EADDRINUSE) {
			t.Errorf("errno=%d", n)
		}
		if after := config(); after != before {
			t.Errorf("the configuration became %s", after)
		}
	})
	t.Run("an unknown operation is refused, not ignored", func(t *testing.T) {
		for _, request := range []string{"put=1\n\n", "get=2\n\n", "set=2\n\n", "set\n\n", "GET / HTTP/1.1\r\n\r\n", "\x00\n\n"} {
			c, err := net.Dial("unix", nstest.SocketPath(p.left.WG))
			must(t, err)
			must(t, c.SetDeadline(time.Now().Add(patience)))
			c.Write([]byte(request))
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil && os.IsTimeout(err) {
				t.Errorf("%q: silence", request)
			}
			if err == nil && (!strings.HasPrefix(line, "errno=") || line == "errno=0\n") {
				t.Errorf("%q: %q", request, line)
			}
			c.Close()
		}
	})
	t.Run("several operations on one connection, also written at once or byte by byte", func(t *testing.T) {
		c, err := net.Dial("unix", nstest.SocketPath(p.left.WG))
		must(t, err)
		defer c.Close()
		r := bufio.NewReader(c)
		if n := errno(t, talk(t, c, r, "set=1\nfwmark=5\n\nget=1\n\nset=1\nfwmark=0\n\nget=1\n\n")); n != 0 {
			t.Errorf("first: errno=%d", n)
		}
		for i, want := range []string{"\nfwmark=5\n", "errno=0\n", "errno=0\n"} {
			if got := readReply(t, r); !strings.Contains("\n"+got, want) {
				t.Errorf("reply %d: %q", i+1, got)
			}
		}
		for _, b := range "set=1\nfwmark=6\n\nset=1\nfwmark=0\n" {
			_, err := c.Write([]byte(string(b)))
			must(t, err)
		}
		if n := errno(t, readReply(t, r)); n != 0 {
			t.Errorf("byte by byte: errno=%d", n)
		}
		if n := errno(t, talk(t, c, r, "\n")); n != 0 {
			t.Errorf("byte by byte, the second: errno=%d", n)
		}
	})
	t.Run("an unfinished request holds up nobody else", func(t *testing.T) {
		c, err := net.Dial("unix", nstest.SocketPath(p.left.WG))
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("set=1\nfwmark=9\n"))
		must(t, err)
		if n := errno(t, uapi(t, p.left, "set=1\nfwmark=0\n\n")); n != 0 {
			t.Errorf("errno=%d", n)
		}
		if got := config(); got != before {
			t.Errorf("the configuration became %s", got)
		}
	})
	t.Run("our own public key as a peer is ignored without error", func(t *testing.T) {
		request := "set=1\npublic_key=" + hexKey(p.left.Public) + "\nallowed_ip=10.0.0.0/8\n\n"
		if n := errno(t, uapi(t, p.left, request)); n != 0 || config() != before {
			t.Errorf("errno=%d, configuration %s", n, config())
		}
	})
	t.Run("the session is the same after all this", func(t *testing.T) {
		sent := peer(t, p.left, p.right).TX
		pings(t, p.left.NS, rightTun4, 1)
		if now := peer(t, p.left, p.right).TX; now != sent+128 {
			t.Errorf("a ping took %d bytes, not 128", now-sent)
		}
	})
	t.Run("the socket is for its owner only", func(t *testing.T) {
		for path, want := range map[string]os.FileMode{nstest.SocketPath(p.left.WG): 0o600, nstest.SocketDir: 0o755} {
			st, err := os.Stat(path)
			must(t, err)
			if got := st.Mode().Perm(); got&^want != 0 {
				t.Errorf("%s has mode %o, not %o", path, got, want)
			}
		}
	})
}
