package conn

import (
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// sendMessages is how many messages one system call sends.
	sendMessages = 64
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// The most UDP payload of a GSO message: 65,535 less the headers. (A
	// plain IPv6 datagram may be 40 bytes larger.)
	maxPayload4 = 65535 - 20 - 8
	maxPayload6 = 65535 - 40 - 8
)

// outgoing is what a message header being built is about.
type outgoing struct {
	run       *Run
	data      []byte
	segment   int // size of a datagram in data
	datagrams int
	source    bool // the last control message is the sticky source
	plain     int  // length of the control data without the source
}

// sender is the memory of one Send on one socket. It is used by one goroutine
// at a time and holds no reference to runs in between.
type sender struct {
	sock   *linuxSocket
	routes *routes
	n      int // messages built
	out    [sendMessages]outgoing
	msgs   [sendMessages]mmsghdr
	iovs   [sendMessages]unix.Iovec
	names  [sendMessages]sockaddr
	ctrls  [sendMessages]control

	// lost is the endpoint whose source was last found unusable, so that the
	// rest of its runs do not try.
	lost *Endpoint
	// single sends the datagrams of refused GSO messages; made when needed.
	single *sender
	noGSO  bool
	went   uint64 // datagrams sent, for who made single

	// try and tryWait are what RawConn calls, made once; window, sent and
	// errno are their argument and results.
	try     func(fd uintptr)
	tryWait func(fd uintptr) (done bool)
	window  []mmsghdr
	sent    int
	errno   unix.Errno
}

var senders = sync.Pool{New: func() any { return newSender() }}

func newSender() *sender {
	x := &sender{}
	for i := range x.msgs {
		h := &x.msgs[i].hdr
		h.Iov = &x.iovs[i]
		h.SetIovlen(1)
		h.Name = &x.names[i][0]
	}
	x.try = func(fd uintptr) { x.sent, x.errno = x.sock.sys.sendmmsg(fd, x.window) }
	x.tryWait = func(fd uintptr) bool {
		x.try(fd)
		return x.errno != unix.EAGAIN
	}
	return x
}

// Send implements [Sockets].
func (s *linuxSockets) Send(runs []Run) { s.SendFrom(0, runs) }

// SendFrom implements [Sharded].
func (s *linuxSockets) SendFrom(shard int, runs []Run) {
	pair := s.shard(shard)
	var has4, has6 bool
	for i := range runs {
		r := &runs[i]
		r.Err, r.SourceLost = nil, false
		switch {
		case r.To == nil || !r.To.Remote.IsValid():
			r.Err = errNoEndpoint
		case familyOf(r.To.Remote.Addr()) == ipv4:
			has4 = true
		default:
			has6 = true
		}
	}
	x := senders.Get().(*sender)
	x.routes = s.routes
	if has4 {
		s.sendFamily(x, pair.v4, ipv4, runs)
	}
	if has6 {
		s.sendFamily(x, pair.v6, ipv6, runs)
	}
	x.sock, x.routes, x.lost = nil, nil, nil
	senders.Put(x)

	failed, lost := 0, 0
	for i := range runs {
		if runs[i].Err != nil {
			failed++
		}
		if runs[i].SourceLost {
			lost++
		}
	}
	if failed > 0 {
		s.sendErrors.Add(uint64(failed))
	}
	if lost > 0 {
		s.sourceLost.Add(uint64(lost))
	}
}

// sendFamily sends the runs that go to one family; their order is kept.
func (s *linuxSockets) sendFamily(x *sender, sock *linuxSocket, f family, runs []Run) {
	x.sock = sock
	for i := range runs {
		r := &runs[i]
		if r.Err == errNoEndpoint || familyOf(r.To.Remote.Addr()) != f {
			continue
		}
		if sock == nil {
			r.Err = ErrNoFamily
			continue
		}
		x.add(r)
	}
	if sock != nil {
		x.flush()
	}
}

// flush sends all messages built, each one whatever became of the others, and
// forgets them.
func (x *sender) flush() {
	for first := 0; first < x.n; {
		sent, err := x.transmit(first, x.n)
		if err == net.ErrClosed {
			for i := first; i < x.n; i++ {
				x.out[i].run.Err = err
			}
			break
		}
		if first += sent; x.errno != 0 {
			x.recover(first, x.errno)
			first++
		}
	}
	for i := range x.n {
		x.out[i] = outgoing{}
		x.iovs[i].Base = nil
	}
	x.n = 0
}

// transmit makes one successful system call for messages from first on, or
// fails at first with x.errno. It waits while the send buffer is full, within the
// socket's patience.
func (x *sender) transmit(first, end int) (sent int, err error) {
	x.window = x.msgs[first:end]
	for {
		// Control, unlike Write, holds no lock that would make senders queue.
		if err = x.sock.raw.Control(x.try); err == nil && x.errno == unix.EAGAIN && !x.sock.full.Load() {
			x.sock.counters.blocked.Add(1)
			if err = x.sock.raw.Write(x.sock.patience, x.tryWait); err == os.ErrDeadlineExceeded {
				x.sock.full.Store(true)
				err = nil
			}
		}
		if e, ok := errors.AsType[unix.Errno](err); ok { // of poll(2), which found no memory
			x.errno, err = e, nil
		}
		if err != nil {
			x.errno = 0
			return 0, net.ErrClosed
		}
		x.sock.counters.sendCalls.Add(1)
		if x.errno == unix.EINTR {
			continue
		}
		if x.errno == 0 && x.sent <= 0 { // the kernel does not do this; do not spin if it did
			x.errno = unix.ENOBUFS
		}
		if x.errno != 0 {
			return 0, nil
		}
		if x.sock.full.Load() {
			x.sock.full.Store(false)
		}
		sent = min(x.sent, end-first)
		n := x.countDatagrams(first, first+sent)
		x.went += n
		x.sock.counters.sent.Add(n)
		return sent, nil
	}
}

func (x *sender) countDatagrams(first, end int) (n uint64) {
	for i := first; i < end; i++ {
		n += uint64(x.out[i].datagrams)
	}
	return n
}

// again sends one message anew and tells what came of it.
func (x *sender) again(i int) error {
	if _, err := x.transmit(i, i+1); err != nil {
		return err
	}
	if x.errno != 0 {
		return x.errno
	}
	return nil
}
