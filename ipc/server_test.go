package ipc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
)

// pipeListener is a listener in memory, so that time in a synctest bubble can
// pass. The bubble also proves that every goroutine ends.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial gives the client's end of a new connection.
func (l *pipeListener) dial() *talk {
	a, b := net.Pipe()
	l.conns <- b
	return &talk{a, bufio.NewReader(a)}
}

// talk is a client.
type talk struct {
	net.Conn
	r *bufio.Reader
}

// reply reads one reply without its empty line.
func (c *talk) reply() (string, error) {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || line == "\n" {
			return b.String(), err
		}
		b.WriteString(line)
	}
}

// ask sends a request and fails the test unless the reply is want.
func (c *talk) ask(t *testing.T, request, want string) {
	t.Helper()
	go io.WriteString(c, request) // ends when the server has read it, or closed
	if got, err := c.reply(); err != nil || got != want {
		t.Errorf("%q is answered by %q, %v; want %q", request, got, err, want)
	}
}

// inBubble runs f with a server in a bubble and closes the server.
func inBubble(t *testing.T, d Device, f func(t *testing.T, l *pipeListener, s *Server, log *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newPipeListener()
		s := Serve(l, d, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		f(t, l, s, &log)
		s.Close()
		for _, key := range []string{hexA, hexB, hexC} { // also as it would be printed, part of it
			if strings.Contains(log.String(), key[:8]) {
				t.Errorf("the log has a key: %s", &log)
			}
		}
	})
}

func TestConversation(t *testing.T) {
	inBubble(t, new(fakeDevice), func(t *testing.T, l *pipeListener, _ *Server, log *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		c.ask(t, "get=1\n\n", "listen_port=0\nerrno=0\n")
		c.ask(t, "set=1\n\n", "errno=0\n")
		c.ask(t, "set=1\nfwmark=7\nlisten_port=5\n\n", "errno=0\n")
		c.ask(t, "get=1\n\n", "listen_port=5\nfwmark=7\nerrno=0\n")
		if log.Len() > 0 {
			t.Errorf("the log says %s", log)
		}
		// A refused request is read to its end, and the next one answered.
		c.ask(t, "set=1\nfwmark=8\nlisten_port=x\ncolour=blue\n\n", fmt.Sprintf("errno=-%d\n", syscall.EINVAL))
		c.ask(t, "get=1\nfwmark=8\n\n", fmt.Sprintf("errno=%d\n", syscall.EINVAL))
		c.ask(t, "get=1\n\n", "listen_port=5\nfwmark=7\nerrno=0\n")
		if !strings.Contains(log.String(), `err="line 3: listen_port: want a number from 0 to 65535"`) {
			t.Errorf("the log says %s", log)
		}
	})
}

func TestPipelined(t *testing.T) {
	inBubble(t, new(fakeDevice), func(t *testing.T, l *pipeListener, _ *Server, _ *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		c.ask(t, "set=1\nfwmark=9\n\nget=1\n\nset=1\nbad\n\nset=1\nfwmark=8\n\nget=1\n\n", "errno=0\n")
		for _, want := range []string{"listen_port=0\nfwmark=9\nerrno=0\n", fmt.Sprintf("errno=-%d\n", syscall.EPROTO), "errno=0\n", "listen_port=0\nfwmark=8\nerrno=0\n"} {
			if got, err := c.reply(); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
	})
}

// What is no operation is answered, and ends the conversation.
func TestNoOperation(t *testing.T) {
	for _, request := range []string{"put=1\n\n", "get=2\n\n", "set=0\n\n", "\n", "get\n\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", 2*MaxLine)} {
		inBubble(t, new(fakeDevice), func(t *testing.T, l *pipeListener, _ *Server, log *bytes.Buffer) {
			c := l.dial()
			defer c.Close()
			c.ask(t, request, fmt.Sprintf("errno=%d\n", syscall.EPROTO))
			if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
				t.Errorf("%q: then %q, %v", request, rest, err)
			}
			if strings.Count(log.String(), "\n") != 1 {
				t.Errorf("%q: the log says %s", request, log)
			}
		})
	}
}

func TestLineTooLongInSet(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, _ *Server, _ *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		c.ask(t, "set=1\nfwmark=1\n"+strings.Repeat("x", 2*MaxLine), fmt.Sprintf("errno=-%d\n", syscall.EPROTO))
		if d.sets != 0 {
			t.Error("the request was applied")
		}
	})
}

// A connection that says nothing (wg(8) sees so whether somebody is there), and
// one that ends within a request, are silent and change nothing.
func TestUnfinished(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, _ *Server, log *bytes.Buffer) {
		for _, request := range []string{"", "se", "set=1", "set=1\n", "set=1\nfwmark=1\n", "set=1\nfwmark=1", "get=1\n"} {
			c := l.dial()
			io.WriteString(c, request)
			c.Close()
		}
		synctest.Wait()
		if d.sets != 0 || log.Len() > 0 {
			t.Errorf("%d sets; the log says %s", d.sets, log)
		}
	})
}

func TestDeviceErrors(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, _ *Server, log *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		d.err = fmt.Errorf("port 5: %w", syscall.EADDRINUSE)
		c.ask(t, "set=1\nlisten_port=5\n\n", fmt.Sprintf("errno=-%d\n", syscall.EADDRINUSE))
		d.err = errors.New("no idea")
		c.ask(t, "set=1\n\n", fmt.Sprintf("errno=-%d\n", syscall.EIO))
		if !strings.Contains(log.String(), "port 5") || !strings.Contains(log.String(), "no idea") {
			t.Errorf("the log says %s", log)
		}
	})
}

// describeError fails after the head.
type describeError struct{ *fakeDevice }

func (d describeError) Describe(head func(*config.Interface) error, _ func(*config.Peer) error) error {
	return errors.Join(head(&d.iface), syscall.ENODEV)
}

func TestGetFails(t *testing.T) {
	inBubble(t, describeError{new(fakeDevice)}, func(t *testing.T, l *pipeListener, _ *Server, _ *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		c.ask(t, "get=1\n\n", fmt.Sprintf("listen_port=0\nerrno=%d\n", syscall.ENODEV))
	})
}

// While one client is in the middle of a request, and one does not read its
// reply, others are served.
func TestSlowClients(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, _ *Server, _ *bytes.Buffer) {
		writer, reader, other := l.dial(), l.dial(), l.dial()
		for _, c := range []*talk{writer, reader, other} {
			defer c.Close()
		}
		io.WriteString(writer, "set=1\nfwmark=9\n")
		io.WriteString(reader, "get=1\n\n")
		synctest.Wait()
		other.ask(t, "set=1\nfwmark=8\n\n", "errno=0\n")
		other.ask(t, "get=1\n\n", "listen_port=0\nfwmark=8\nerrno=0\n")
		// Both are given up after a while; nothing of the set is applied.
		time.Sleep(stallTimeout + time.Second)
		for _, c := range []*talk{writer, reader} {
			if got, err := c.reply(); got != "" || err != io.EOF {
				t.Errorf("a stalled client reads %q, %v", got, err)
			}
		}
		if d.sets != 1 {
			t.Errorf("%d sets", d.sets)
		}
		// A client that is quiet between requests is kept for longer, not for ever.
		other.ask(t, "get=1\n\n", "listen_port=0\nfwmark=8\nerrno=0\n")
		time.Sleep(idleTimeout + time.Second)
		if _, err := other.reply(); err != io.EOF {
			t.Errorf("an idle client reads %v", err)
		}
	})
}

// With every place taken the quietest client makes room, once it has been
// quiet for evictAfter; a busy one never does.
func TestEviction(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, s *Server, _ *bytes.Buffer) {
		d.entered, d.released = make(chan struct{}), make(chan struct{})
		var clients []*talk
		for range MaxClients {
			c := l.dial()
			defer c.Close()
			clients = append(clients, c)
			time.Sleep(time.Millisecond)
		}
		busy, quiet := clients[0], clients[1]
		go io.WriteString(busy, "set=1\n\n")
		<-d.entered
		synctest.Wait()
		if n := s.Evicted(); n != 0 {
			t.Fatalf("%d evicted while nobody waits for a place", n)
		}
		start := time.Now()
		extra := l.dial() // waits for a place
		defer extra.Close()
		if waited := time.Since(start); waited < evictAfter/2 || waited > 2*evictAfter {
			t.Errorf("a place came free after %v", waited)
		}
		if _, err := quiet.reply(); err != io.EOF {
			t.Errorf("the quietest client reads %v", err)
		}
		extra.ask(t, "get=1\n\n", "listen_port=0\nerrno=0\n")
		d.released <- struct{}{}
		if got, err := busy.reply(); got != "errno=0\n" || err != nil {
			t.Errorf("the busy client reads %q, %v", got, err)
		}
		// Serving one more needs another place, taken before the accept.
		if n := s.Evicted(); n < 1 || n > 2 {
			t.Errorf("%d evicted", n)
		}
	})
}

// Close waits for a Configure under way and leaves no goroutine (or the bubble
// would not end), whatever the clients do.
func TestCloseWaits(t *testing.T) {
	d := new(fakeDevice)
	inBubble(t, d, func(t *testing.T, l *pipeListener, s *Server, _ *bytes.Buffer) {
		d.entered, d.released = make(chan struct{}), make(chan struct{})
		idle, stalled, busy := l.dial(), l.dial(), l.dial()
		io.WriteString(stalled, "set=1\n")
		io.WriteString(busy, "set=1\n\n")
		<-d.entered
		closed := make(chan struct{})
		for range 2 {
			go func() { s.Close(); closed <- struct{}{} }()
		}
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close does not wait for Configure")
		default:
		}
		close(d.released)
		<-closed
		<-closed
		if _, err := idle.reply(); err != io.EOF {
			t.Errorf("an idle client reads %v", err)
		}
	})
}

// brokenListener fails like one that is out of descriptors, then works.
type brokenListener struct {
	*pipeListener
	failures int
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, syscall.EMFILE
	}
	return l.pipeListener.Accept()
}

func TestAcceptErrorsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 3 * MaxClients // 19.2 s of them
		l := &brokenListener{newPipeListener(), failures}
		var log bytes.Buffer
		s := Serve(l, new(fakeDevice), slog.New(slog.NewTextHandler(&log, nil)))
		defer s.Close()
		c := l.dial()
		defer c.Close()
		c.ask(t, "get=1\n\n", "listen_port=0\nerrno=0\n")
		if n := strings.Count(log.String(), "cannot accept"); n != 2 || s.AcceptErrors() != failures {
			t.Errorf("%d lines, %d counted", n, s.AcceptErrors())
		}
	})
}
