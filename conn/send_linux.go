package conn

import (
	"net"
	"net/netip"
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
func (s *linuxSockets) Send(runs []Run) {
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
		s.sendFamily(x, s.v4, ipv4, runs)
	}
	if has6 {
		s.sendFamily(x, s.v6, ipv6, runs)
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
			r.Err = errNoFamily
			continue
		}
		x.add(r)
	}
	if sock != nil {
		x.flush()
	}
}

// add builds the messages of r.
func (x *sender) add(r *Run) {
	segment := r.Segment
	if segment <= 0 || segment > len(r.Data) {
		segment = len(r.Data)
	}
	step := segment
	if segment < len(r.Data) && !x.noGSO && x.sock.gso.allows(r.To.Remote.Addr()) {
		step = segment * x.perMessage(segment)
	}
	source := x.useSource(r)
	data := r.Data
	for {
		piece := data[:min(step, len(data))]
		x.put(r, piece, segment, source)
		if data = data[len(piece):]; len(data) == 0 {
			return
		}
		source = source && !r.SourceLost
	}
}

// perMessage is how many datagrams of a size fit in one GSO message.
func (x *sender) perMessage(segment int) int {
	payload := maxPayload4
	if x.sock.family == ipv6 {
		payload = maxPayload6
	}
	return max(1, min(maxSegments, payload/segment))
}

// useSource reports whether r goes with its sticky source, and looks at the
// source again if routes have changed.
func (x *sender) useSource(r *Run) bool {
	e := r.To
	if !e.Local.IsValid() {
		return false
	}
	if e == x.lost || familyOf(e.Local) != x.sock.family || !x.routes.good(x.sock, e) {
		x.lose(r)
		return false
	}
	return true
}

func (x *sender) lose(r *Run) {
	r.SourceLost = true
	x.lost = r.To
}

// put builds one message and sends what there is when the headers are used up.
func (x *sender) put(r *Run, data []byte, segment int, source bool) {
	if x.n == sendMessages {
		x.flush()
		source = source && !r.SourceLost
	}
	i := x.n
	x.n++
	h, c, o := &x.msgs[i].hdr, &x.ctrls[i], &x.out[i]
	*o = outgoing{run: r, data: data, segment: segment, datagrams: datagrams(len(data), segment), source: source}
	x.iovs[i].Base = nil
	if len(data) > 0 {
		x.iovs[i].Base = &data[0]
	}
	x.iovs[i].SetLen(len(data))
	scope := x.scope(r.To)
	if x.sock.family == ipv4 {
		h.Namelen = x.names[i].put4(r.To.Remote)
	} else {
		h.Namelen = x.names[i].put6(r.To.Remote, scope)
	}
	off := 0
	if r.TOS != 0 {
		off = c.putTOS(off, x.sock.family, r.TOS)
	}
	if o.datagrams > 1 {
		off = c.putSegment(off, segment)
	}
	o.plain = off
	if source {
		// The source comes last, so that cutting the length takes it away.
		off = c.putSource(off, x.sock.family, r.To.Local, sourceLink(r.To, scope))
	}
	setControl(h, c, off)
}

// scope is the interface number that a link-local destination needs.
func (x *sender) scope(e *Endpoint) uint32 {
	if zone := e.Remote.Addr().Zone(); zone != "" {
		return x.sock.zones.lookup(x.sock, zone, x.routes.generation())
	}
	return 0
}

// sourceLink is the interface number that a link-local source needs, else 0.
func sourceLink(e *Endpoint, scope uint32) uint32 {
	if !e.Local.Is6() || !e.Local.IsLinkLocalUnicast() {
		return 0
	}
	if scope != 0 {
		return scope
	}
	return e.IfIndex
}

func setControl(h *unix.Msghdr, c *control, n int) {
	h.Control = nil
	if n > 0 {
		h.Control = &c[0]
	}
	h.SetControllen(n)
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
// fails at first with x.errno. It waits while the send buffer is full.
func (x *sender) transmit(first, end int) (sent int, err error) {
	x.window = x.msgs[first:end]
	for {
		// Control, unlike Write, holds no lock that would make senders queue.
		if err = x.sock.raw.Control(x.try); err == nil && x.errno == unix.EAGAIN {
			x.sock.counters.blocked.Add(1)
			err = x.sock.raw.Write(x.tryWait)
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
		sent = min(x.sent, end-first)
		x.sock.counters.sent.Add(x.countDatagrams(first, first+sent))
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

// recover does what can be done for message i, which failed with errno.
func (x *sender) recover(i int, errno unix.Errno) {
	o := &x.out[i]
	var err error = errno
	if isPassing(errno) {
		if errno != unix.ECONNREFUSED {
			x.sock.counters.noBuffers.Add(1)
		}
		err = x.again(i)
	}
	if e, ok := err.(unix.Errno); ok && o.source && isSourceFault(e) {
		setControl(&x.msgs[i].hdr, &x.ctrls[i], o.plain)
		if retry := x.again(i); retry == nil {
			err = nil
			x.sourceGone(i)
		}
	}
	if e, ok := err.(unix.Errno); ok && o.datagrams > 1 && isGSOFault(e) {
		x.oneByOne(o, e)
		return
	}
	if err != nil && o.run.Err == nil {
		o.run.Err = err
	}
}

// isPassing tells errors that say nothing about the message: no memory just
// now, or an ICMP error that answers an earlier one.
func isPassing(errno unix.Errno) bool {
	return errno == unix.ENOBUFS || errno == unix.ENOMEM || errno == unix.ECONNREFUSED
}

// isSourceFault tells errors that a source address causes which is not, or no
// longer, ours or from which there is no way.
func isSourceFault(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV:
		return true
	}
	return false
}

// sourceGone takes the source of message i from all that follow with it.
func (x *sender) sourceGone(i int) {
	x.lose(x.out[i].run)
	for j := i + 1; j < x.n; j++ {
		if o := &x.out[j]; o.source && o.run.To == x.lost {
			o.run.SourceLost, o.source = true, false
			setControl(&x.msgs[j].hdr, &x.ctrls[j], o.plain)
		}
	}
}

// oneByOne sends the datagrams of a refused GSO message singly. If one goes,
// GSO was the reason and is remembered.
func (x *sender) oneByOne(o *outgoing, errno unix.Errno) {
	if x.single == nil {
		x.single = newSender()
		x.single.noGSO = true
	}
	y := x.single
	y.sock, y.routes, y.lost = x.sock, x.routes, x.lost
	before := o.run.Err
	part := *o.run
	part.Data, part.Segment, part.Err = o.data, o.segment, nil
	y.sendAll(&part)
	o.run.Err = before
	if o.run.Err == nil {
		o.run.Err = part.Err
	}
	o.run.SourceLost = part.SourceLost
	x.lost = y.lost
	y.sock, y.routes, y.lost = nil, nil, nil
	x.sock.counters.gsoFallbacks.Add(1)
	if part.Err == nil {
		x.blame(errno, o.run.To.Remote.Addr())
	}
}

func (x *sender) sendAll(r *Run) {
	x.add(r)
	x.flush()
}

// blame tells the governor that GSO failed where single datagrams went.
func (x *sender) blame(errno unix.Errno, to netip.Addr) {
	turnedOff, remembered := x.sock.gso.fault(errno, to)
	if turnedOff {
		x.sock.log.Warn("UDP segmentation offload failed and is off for this socket", "family", x.sock.family, "error", errno)
	}
	if !remembered {
		x.sock.counters.gsoTableFull.Add(1)
	}
}
