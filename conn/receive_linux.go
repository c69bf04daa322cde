package conn

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"culvert/internal/rawfd"

	"golang.org/x/sys/unix"
)

// linuxReceiver reads one socket. It belongs to one goroutine.
type linuxReceiver struct {
	sock  *linuxSocket
	zones zoneCache

	wait *rawfd.Reader
	// read is what wait calls. It is made once, with its arguments
	// and results here, so that a call allocates nothing.
	read  func(fd uintptr) (done bool)
	state *receiveState
	got   int
	errno unix.Errno
}

func newLinuxReceiver(s *linuxSocket) *linuxReceiver {
	r := &linuxReceiver{sock: s}
	r.read = func(fd uintptr) bool {
		r.got, r.errno = s.sys.recvmmsg(fd, r.state.msgs)
		return r.errno != unix.EAGAIN
	}
	r.wait = s.raw.NewReader(r.read)
	return r
}

// receiveState is a batch's part that the kernel fills in.
type receiveState struct {
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []sockaddr
	ctrls []control
	dirty int // headers the kernel has changed since they were set
}

func newReceiveState(slots [][]byte) *receiveState {
	st := &receiveState{
		msgs:  make([]mmsghdr, len(slots)),
		iovs:  make([]unix.Iovec, len(slots)),
		names: make([]sockaddr, len(slots)),
		ctrls: make([]control, len(slots)),
		dirty: len(slots),
	}
	for i := range st.msgs {
		st.iovs[i].Base = &slots[i][0]
		st.iovs[i].SetLen(len(slots[i]))
		h := &st.msgs[i].hdr
		h.Iov = &st.iovs[i]
		h.SetIovlen(1)
		h.Name = &st.names[i][0]
		h.Control = &st.ctrls[i][0]
	}
	return st
}

// forget drops the references to the slots: a receiver keeps the state of its last
// batch.
func (st *receiveState) forget() { clear(st.iovs) }

// reset gives the kernel the full lengths again.
func (st *receiveState) reset() {
	for i := range st.msgs[:st.dirty] {
		h := &st.msgs[i].hdr
		h.Namelen = uint32(len(st.names[i]))
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	st.dirty = 0
}

// badReads is after how many failures in a row a receiver pauses before it
// tries again, so that a lasting failure does not burn the CPU. After lastRead, 10 s
// later, the socket is given up.
const (
	badReads  = 16
	readPause = 10 * time.Millisecond
	lastRead  = badReads + 1000
)

// Receive implements [Receiver].
func (r *linuxReceiver) Receive(b *Batch) error {
	st, ok := b.state.(*receiveState)
	if !ok {
		st = newReceiveState(b.slots)
		b.state = st
	}
	r.state = st
	b.Messages, b.Cut = b.Messages[:0], 0
	for failures := 0; ; {
		st.reset()
		waited, err := r.wait.Read()
		if err != nil {
			return r.final(err)
		}
		switch r.errno {
		case 0:
			st.dirty = r.got
			if r.fill(b, st); len(b.Messages) > 0 || b.Cut > 0 {
				b.Waited = waited
				return nil
			}
		case unix.EINTR:
		default:
			// An ICMP error for something we sent, or no memory. The next
			// datagram is none the worse.
			r.sock.counters.receiveErrors.Add(1)
			if failures++; failures >= lastRead || isBroken(r.errno) || r.sock.closed.Load() {
				return r.final(os.NewSyscallError("recvmmsg", r.errno))
			}
			if failures > badReads {
				time.Sleep(readPause)
			}
		}
	}
}

// final is the error that ends receiving.
func (r *linuxReceiver) final(err error) error {
	if r.sock.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("%s socket: %w", r.sock.family, err)
}

// fill makes the messages that the kernel delivered.
func (r *linuxReceiver) fill(b *Batch, st *receiveState) {
	datagrams := 0
	for i := range st.msgs[:r.got] {
		h := &st.msgs[i]
		// Without all control data the size of merged datagrams is unknown.
		if h.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			b.Cut++
			continue
		}
		from, scope, ok := st.names[i].get()
		if !ok {
			b.Cut++
			continue
		}
		b.Messages = append(b.Messages, Message{Data: b.slots[i][:h.len], Remote: from})
		m := &b.Messages[len(b.Messages)-1]
		m.parseControl(st.ctrls[i][:h.hdr.Controllen])
		if m.Segment <= 0 || m.Segment > len(m.Data) {
			m.Segment = len(m.Data)
		}
		if scope != 0 && from.Addr().IsLinkLocalUnicast() {
			m.Remote = netip.AddrPortFrom(r.zones.with(from.Addr(), scope), from.Port())
		}
		datagrams += m.Datagrams()
	}
	r.sock.counters.receiveCalls.Add(1)
	r.sock.counters.received.Add(uint64(datagrams))
	if b.Cut > 0 {
		r.sock.counters.truncated.Add(uint64(b.Cut))
	}
}
