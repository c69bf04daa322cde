package ipc

import (
	"errors"
	"net"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of a client.
const (
	// idleTimeout ends a client that is quiet between operations.
	idleTimeout = 10 * time.Minute
	// stallTimeout ends a client that is quiet within an operation, or does
	// not read its reply.
	stallTimeout = 30 * time.Second
)

var errOperation = errors.New("the first line is neither set=1 nor get=1 nor culvert_status=1")

// session is the conversation with one client. It belongs to its goroutine,
// except for what client says.
type session struct {
	server *Server
	client *client
	lines  *lines
	out    *printer
}

func newSession(s *Server, c *client) *session {
	return &session{server: s, client: c, lines: newLines(c), out: newPrinter(c)}
}

// run talks to the client until it goes or misbehaves.
func (s *session) run() {
	defer s.lines.wipe() // keys went through both
	defer s.out.wipe()
	for s.operation() {
	}
}

// operation does one operation and reports whether another may follow.
func (s *session) operation() bool {
	s.client.patience = idleTimeout
	if !s.lines.Scan() {
		return s.cutShort(1)
	}
	s.client.patience = stallTimeout
	switch string(s.lines.Bytes()) {
	case "set=1":
		return s.set()
	case "get=1":
		return s.query(func() error { return s.out.describe(s.server.device) })
	case statusRequest:
		if r, ok := s.server.device.(Reporter); ok {
			return s.query(func() error { return s.out.report(r) })
		}
	}
	// Where the next operation begins cannot be told, so this is the end.
	s.server.log.Error("uapi: request refused", "err", errOperation)
	s.reply(int(syscall.EPROTO))
	return false
}

// largeRequest is the bytes of a parsed request from which on its memory goes back to
// the system at once: the collector would keep as much again as a million peers
// take, until it has a reason to look.
const largeRequest = 4 << 20

// set does a set request.
func (s *session) set() bool {
	p := newParser(&s.server.memory)
	more, large := s.apply(p), p.cost >= largeRequest
	p.release()
	if large {
		debug.FreeOSMemory()
	}
	return more
}

// apply reads a whole request, then has the device apply it, and replies.
func (s *session) apply(p *parser) bool {
	var bad error
	for {
		if !s.lines.Scan() {
			return s.cutShort(-1)
		}
		line := s.lines.Bytes()
		if len(line) == 0 {
			break
		}
		if bad == nil { // the rest of a bad request is only skipped
			bad = p.add(line)
		}
	}
	if bad == nil {
		bad = s.server.device.Configure(p.update)
	}
	if bad != nil {
		s.server.log.Error("uapi: set refused", "err", bad)
	}
	return s.reply(-int(errnoOf(bad)))
}

// query takes the end of a request that asks, and has answer write the reply:
// a get's while the device describes itself.
func (s *session) query(answer func() error) bool {
	var errno syscall.Errno
	for {
		if !s.lines.Scan() {
			return s.cutShort(1)
		}
		if len(s.lines.Bytes()) == 0 {
			break
		}
		errno = syscall.EINVAL
	}
	if errno == 0 {
		err := answer()
		if s.client.err != nil {
			return false // the client's fault: there is nobody to tell
		}
		if errno = errnoOf(err); errno != 0 {
			s.server.log.Error("uapi: no answer to a get or status", "err", err)
		}
	}
	return s.reply(int(errno))
}

// cutShort deals with the end of the input, which is no error (wg(8) connects
// and closes to see whether somebody is there), and with a line too long.
// Nothing of an unfinished request is applied.
func (s *session) cutShort(sign int) bool {
	if s.lines.Err() == errLineTooLong {
		s.server.log.Error("uapi: request refused", "err", errLineTooLong)
		s.reply(sign * int(syscall.EPROTO))
	}
	return false
}

// reply ends a reply and reports whether the client got it.
func (s *session) reply(errno int) bool {
	b, err := s.out.record()
	if err != nil {
		return false
	}
	b = append(strconv.AppendInt(append(b, "errno="...), int64(errno), 10), "\n\n"...)
	if _, err := s.out.w.Write(b); err != nil {
		return false
	}
	if s.out.w.Flush() != nil {
		return false
	}
	s.out.wipe() // the answer to a get has keys, and the client may stay
	s.out.w.Reset(s.client)
	return true
}

// client is a connection that is given up when it is quiet for too long.
type client struct {
	net.Conn
	patience time.Duration // of the next Read; the session's
	err      error         // of the last failed Write; the session's
	// quietSince is when we began to wait for the client, in ns since 1970; 0
	// while it waits for us. Everybody may read it.
	quietSince atomic.Int64
}

func (c *client) Read(b []byte) (int, error) {
	now := time.Now()
	c.quietSince.Store(now.UnixNano())
	defer c.quietSince.Store(0)
	if err := c.SetReadDeadline(now.Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *client) Write(b []byte) (n int, err error) {
	now := time.Now()
	c.quietSince.Store(now.UnixNano())
	defer c.quietSince.Store(0)
	if c.err = c.SetWriteDeadline(now.Add(stallTimeout)); c.err != nil {
		return 0, c.err
	}
	n, c.err = c.Conn.Write(b)
	return n, c.err
}
