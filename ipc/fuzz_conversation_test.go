package ipc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/device/config"
)

// FuzzConversation is a client that says anything, in pieces of any size. Its laws,
// against understood, an independent reading of the protocol:
//
//   - every request that came whole has one reply, with the errno and, for a get, the
//     status of a device that only the good requests before it were applied to: an error
//     leaves nothing half-applied, and nothing leaks into the next request;
//   - what did not come whole, or cannot be told apart, ends it, and changes nothing;
//   - the status, set again, is the same;
//   - no key is in the log.
func FuzzConversation(f *testing.F) {
	peer := "public_key=" + hexB + "\nallowed_ip=10.0.0.0/8\n"
	for _, text := range []string{
		"", "get=1\n\n", "get=1\n", "set=1\n\nget=1\n\n", "get=1\nfwmark=1\n\nget=1\n\n", "culvert_status=1\n\n", "bad\n\nget=1\n\n",
		"set=1\nprivate_key=" + hexA + "\nfwmark=5\n\nset=1\nfwmark=6\nlisten_port=x\n\nget=1\n\n",
		"set=1\nfwmark=5\n\nset=1\nlisten_port=7\nfwmark=13\n\nget=1\n\n",
		"set=1\nfwmark=5\n" + strings.Repeat("x", MaxLine) + "\n\nget=1\n\n", "set=1\nfwmark=13\n" + peer + "\nget=1\n\n",
		"set=1\n" + peer + "preshared_key=" + hexC + "\npersistent_keepalive_interval=9\nendpoint=1.2.3.4:5\nreplace_allowed_ips=true\npublic_key=" + hexA + "\nallowed_ip=::/0\n\nget=1\n\n",
		"set=1\nfwmark=5\nlisten_port=x\nlisten_port=7\n\nget=1\n\n",
		"set=1\n" + peer + "preshared_key=" + hexC + "\n\nset=1\n" + peer + "remove=true\n\nget=1\n\n",
		"set=1\n" + peer + "\nset=1\nreplace_peers=true\npublic_key=" + hexA + "\nendpoint=[::1]:1\nallowed_ip=10.0.0.0/8\n\nget=1\n\n",
		"set=1\n" + peer + "endpoint=nowhere\n\nget=1\n\nset=1\n" + peer, "set=1\nfwmark=1\n" + strings.Repeat("x", MaxLine+1) + "\n\nget=1\n\n",
		strings.Repeat("y", MaxLine+1) + "\n", "set=1\r\n\r\n", "\n\nget=1\n\n", "set=1\n" + peer + "allowed_ip=-10.0.0.0/8\nallowed_ip=::/0\n\nget=1\n\n",
	} {
		f.Add(text, uint16(7))
		f.Add(text, uint16(1))
	}
	f.Fuzz(func(t *testing.T, text string, piece uint16) {
		d, log := &picky{}, &bytes.Buffer{}
		s := &Server{device: d, log: slog.New(slog.NewTextHandler(log, nil)), memory: quota{max: 2 * MaxRequest}}
		c := &spoken{in: strings.NewReader(text), piece: max(1, int(piece))}
		newSession(s, &client{Conn: c}).run()

		shadow := &picky{}
		if want, got := understood(shadow, text), c.out.String(); got != want {
			t.Fatalf("%q\nis answered by\n%q\nwant\n%q", text, got, want)
		}
		status := statusOf(t, d)
		if want := statusOf(t, shadow); status != want {
			t.Fatalf("%q\nleaves\n%q\nwant\n%q", text, status, want)
		}
		if again, err := configured(settable(status)); err != nil || again != status {
			t.Fatalf("%q, set again, is %q, %v", status, again, err)
		}
		for _, key := range []string{hexA, hexC} {
			if strings.Contains(log.String(), key) {
				t.Fatalf("a key is in the log: %s", log)
			}
		}
		if used := s.memory.used.Load(); used != 0 {
			t.Fatalf("%d bytes of the quota are not given back", used)
		}
	})
}

// picky is a device that refuses a mark.
type picky struct{ fakeDevice }

var errPicky = fmt.Errorf("no such mark: %w", syscall.EADDRINUSE)

func (d *picky) Configure(u *config.Update) error {
	if u.HasFirewallMark && u.FirewallMark == 13 {
		return errPicky
	}
	return d.fakeDevice.Configure(u)
}

// understood applies what text asks for to d, and gives the replies.
func understood(d Device, text string) (replies string) {
	for {
		request, rest, end := cutRequest(text)
		if end != "" {
			return replies + strings.TrimPrefix(end, "cut")
		}
		text = rest
		op, body, _ := strings.Cut(request, "\n")
		errno := 0
		switch {
		case op == "set=1":
			_, err := ReadUpdate(strings.NewReader(body))
			for _, section := range sections(body) {
				if u, _ := ReadUpdate(strings.NewReader(section)); err == nil {
					err = d.Configure(u)
				}
			}
			var e syscall.Errno
			if errors.As(err, &e) {
				errno = -int(e)
			}
		case body != "":
			errno = int(syscall.EINVAL)
		default:
			var b strings.Builder
			if err := WriteStatus(&b, d); err != nil {
				return err.Error()
			}
			replies += b.String()
		}
		replies += fmt.Sprintf("errno=%d\n\n", errno)
	}
}

// sections are the parts of a set: for the interface, and for each peer. Each by itself
// means what it means beside the others.
func sections(body string) (all []string) {
	part := ""
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "public_key=") {
			all, part = append(all, part), ""
		}
		part += line
	}
	return append(all, part)
}

// cutRequest cuts off the first request, without its empty line. end is the reply
// that ends the conversation, "cut" for none.
func cutRequest(text string) (request, rest, end string) {
	sign, lines := "", 0
	for left := text; ; lines++ {
		line, after, whole := strings.Cut(left, "\n")
		switch {
		case len(line) > MaxLine:
			return "", "", fmt.Sprintf("errno=%s%d\n\n", sign, syscall.EPROTO)
		case !whole:
			return "", "", "cut"
		case lines == 0 && line != "set=1" && line != "get=1":
			return "", "", fmt.Sprintf("errno=%d\n\n", syscall.EPROTO)
		case lines == 0 && line == "set=1":
			sign = "-"
		case lines > 0 && line == "":
			return request, after, ""
		}
		request += line + "\n"
		left = after
	}
}

func statusOf(t *testing.T, d Device) string {
	t.Helper()
	var b strings.Builder
	if err := WriteStatus(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// spoken is a connection whose client has said all it will say.
type spoken struct {
	in    *strings.Reader
	piece int
	out   bytes.Buffer
}

func (c *spoken) Read(b []byte) (int, error) {
	n, err := c.in.Read(b[:min(len(b), c.piece)])
	if err != nil {
		return 0, io.EOF
	}
	return n, nil
}

func (c *spoken) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *spoken) Close() error                     { return nil }
func (c *spoken) LocalAddr() net.Addr              { return nil }
func (c *spoken) RemoteAddr() net.Addr             { return nil }
func (c *spoken) SetDeadline(time.Time) error      { return nil }
func (c *spoken) SetReadDeadline(time.Time) error  { return nil }
func (c *spoken) SetWriteDeadline(time.Time) error { return nil }
