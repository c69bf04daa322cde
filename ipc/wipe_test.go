package ipc

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"culvert/device/config"
)

// blank reports whether b is all zeros, and ends of lines.
func blank(b []byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 && x != '\n' })
}

// Lines are read as they come, and of what was read nothing is left: not of a line behind, nor of what was moved to
// make room.
func TestLinesLeaveNothing(t *testing.T) {
	var text strings.Builder
	for i := range 2000 { // more than the buffer, which so is moved
		text.WriteString(strings.Repeat("k", i%100) + "\n")
	}
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(text.String()),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text.String())),
		"in halves":    iotest.HalfReader(strings.NewReader(text.String())),
		"end and data": iotest.DataErrReader(strings.NewReader(text.String())),
	} {
		l, n := newLines(r), 0
		for l.Scan() {
			if len(l.Bytes()) != n%100 {
				t.Fatalf("%s: line %d has %d bytes", name, n, len(l.Bytes()))
			}
			behind := l.start - len(l.Bytes()) - 1
			if bytes.ContainsRune(l.buf[:behind], 'k') || !blank(l.buf[l.end:]) {
				t.Fatalf("%s: something of what was read before line %d is left", name, n)
			}
			n++
		}
		if n != 2000 || l.Err() != nil {
			t.Errorf("%s: %d lines, %v", name, n, l.Err())
		}
		if bytes.ContainsRune(l.buf, 'k') {
			t.Errorf("%s: something is left at the end", name)
		}
	}
}

func TestLinesEnd(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		r     io.Reader
		lines int
		err   error
	}{
		"nothing":       {strings.NewReader(""), 0, nil},
		"unfinished":    {strings.NewReader("a\nb"), 1, nil},
		"as long":       {strings.NewReader(strings.Repeat("x", MaxLine) + "\n\n"), 2, nil},
		"too long":      {strings.NewReader("\n" + strings.Repeat("x", MaxLine+1) + "\n"), 1, errLineTooLong},
		"without end":   {strings.NewReader(strings.Repeat("x", MaxLine+1)), 0, errLineTooLong},
		"broken":        {io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), 2, broken},
		"that stutters": {iotest.DataErrReader(strings.NewReader("a\n")), 1, nil},
		"no progress":   {stuck{}, 0, io.ErrNoProgress},
	} {
		l, n := newLines(c.r), 0
		for l.Scan() {
			n++
		}
		if n != c.lines || l.Err() != c.err || l.Scan() {
			t.Errorf("%s: %d lines, %v; want %d, %v", name, n, l.Err(), c.lines, c.err)
		}
		if l.wipe(); !blank(l.buf) || l.Scan() {
			t.Errorf("%s: wiped, and something is left", name)
		}
	}
}

// stuck never reads anything.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// A list of peers that grows leaves no preshared keys in the memory that it leaves.
func TestGrowingLeavesNoKeys(t *testing.T) {
	p := newParser(nil)
	var left [][]config.PeerUpdate
	for range 100 {
		for _, line := range []string{"public_key=" + hexB, "preshared_key=" + hexC} {
			before := p.update.Peers
			if err := p.add([]byte(line)); err != nil {
				t.Fatal(err)
			}
			if len(before) > 0 && &before[0] != &p.update.Peers[0] {
				left = append(left, before)
			}
		}
	}
	if len(left) < 3 {
		t.Fatal("it does not grow: the test tests nothing")
	}
	for _, peers := range left {
		for i := range peers {
			if !peers[i].PresharedKey.IsZero() {
				t.Fatalf("key %d of a list of %d is left", i, len(peers))
			}
		}
	}
	for i := range p.update.Peers {
		if p.update.Peers[i].PresharedKey.IsZero() {
			t.Fatalf("key %d is lost", i)
		}
	}
}

// newTestSession is a conversation with a client that says text, reads the replies and closes.
func newTestSession(text string) *session {
	s := &Server{device: &fakeDevice{}, log: slog.New(slog.DiscardHandler), memory: quota{max: MaxRequest}}
	return newSession(s, &client{Conn: &saying{Reader: strings.NewReader(text)}})
}

// saying is the connection of a client that says what Reader has.
type saying struct {
	net.Conn // nil
	io.Reader
	replies bytes.Buffer
	broken  error // of writes
}

func (c *saying) Read(b []byte) (int, error) { return c.Reader.Read(b) }
func (c *saying) Write(b []byte) (int, error) {
	c.replies.Write(b)
	return len(b), c.broken
}
func (c *saying) SetReadDeadline(time.Time) error  { return nil }
func (c *saying) SetWriteDeadline(time.Time) error { return nil }

// buffers is what s has of text.
func (s *session) buffers() (read, write []byte) {
	write = s.out.w.AvailableBuffer()
	return s.lines.buf, write[:cap(write)]
}

// A conversation leaves no keys in its buffers: not between two operations, in case the client stays,
// nor at its end, whatever that was.
func TestSessionLeavesNothing(t *testing.T) {
	request := "set=1\nprivate_key=" + hexA + "\npublic_key=" + hexB + "\npreshared_key=" + hexC + "\n\nget=1\n\n"
	check := func(when string, s *session) {
		t.Helper()
		read, write := s.buffers()
		if len(write) != writeBuffer {
			t.Fatalf("%s: %d bytes of the buffer are not free", when, writeBuffer-len(write))
		}
		if !blank(read) || !blank(write) {
			t.Errorf("%s: left are %q and %q", when, bytes.Trim(read, "\x00"), bytes.Trim(write, "\x00"))
		}
	}
	s := newTestSession(request)
	for range 2 {
		if !s.operation() {
			t.Fatal("an operation failed")
		}
	}
	if got := s.client.Conn.(*saying).replies.String(); !strings.Contains(got, hexC) || strings.Count(got, "errno=0\n") != 2 {
		t.Fatalf("answered by %q", got)
	}
	check("between operations", s)
	s.run()
	check("at the end", s)
	for name, end := range map[string]string{
		"unfinished": "set=1\nprivate_key=" + hexA + "\npublic_key=" + hexA,
		"too long":   "set=1\nprivate_key=" + hexA + "\n" + strings.Repeat("x", MaxLine+1) + hexA,
		"no such":    "private_key=" + hexA + "\n" + hexA,
	} {
		s := newTestSession(request + end)
		s.run()
		check(name, s)
	}
	s = newTestSession("get=1\n\n")
	s.server.device = &fakeDevice{iface: config.Interface{PrivateKey: config.PrivateKey{1: 0x77}}}
	gone := s.client.Conn.(*saying)
	gone.broken = errors.New("gone")
	if s.run(); !strings.Contains(gone.replies.String(), "private_key=0077") {
		t.Fatalf("answered by %q", gone.replies.String())
	}
	check("a reply that cannot be sent", s)
}

// A reply that cannot be sent is not kept either, nor what WriteStatus has written.
func TestPrinterLeavesNothing(t *testing.T) {
	d := &fakeDevice{iface: config.Interface{PrivateKey: config.PrivateKey{1: 0x77}}}
	w := &keeps{err: errors.New("gone")}
	p := newPrinter(w)
	if err := p.describe(d); err != nil {
		t.Fatal(err)
	}
	if err := p.w.Flush(); err == nil {
		t.Fatal("it was written")
	}
	buf := w.got
	if !bytes.Contains(buf, []byte("private_key=0077")) {
		t.Fatal("no key was written: the test tests nothing")
	}
	if p.wipe(); !blank(buf) {
		t.Error("the key is left")
	}
	w.err = nil
	if err := WriteStatus(w, d); err != nil {
		t.Fatal(err)
	}
	if !blank(w.got) {
		t.Error("WriteStatus leaves the key")
	}
}

// keeps keeps the memory it was given, which it should not.
type keeps struct {
	got []byte
	err error
}

func (k *keeps) Write(b []byte) (int, error) { k.got = b; return len(b), k.err }

// A key in the wrong line is not copied: nothing of the heap has it when the line is wiped. What may be
// kept is 16 digits of it.
func TestKeysInWrongLines(t *testing.T) {
	for _, name := range []string{"listen_port=", "fwmark=", "fwmark=0x", "persistent_keepalive_interval="} {
		p := newParser(nil)
		if name[0] == 'p' {
			if err := p.add([]byte("public_key=" + hexB)); err != nil {
				t.Fatal(err)
			}
		}
		line := []byte(name + hexA)
		err := p.add(line)
		if err == nil || strings.Contains(err.Error(), hexA[:8]) {
			t.Errorf("%s: %v", name, err)
		}
		copies := testing.AllocsPerRun(100, func() { parseMark(line[len(name):]); parseUint16(line[len(name):]) })
		if copies > 2 { // the two problems
			t.Errorf("%s: %v allocations", name, copies)
		}
	}
}
