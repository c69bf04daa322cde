//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/internal/mmsg"
)

const (
	burst       = 64      // datagrams of a system call
	maxReceived = 2048    // bytes of a datagram that are looked at
	buffer      = 4 << 20 // bytes of a socket's buffers
)

// socket is a UDP socket that has all addresses of the namespace. It notes when
// datagrams came.
type socket struct{ fd int }

func newSocket() (s socket, err error) {
	s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s, err
	}
	set := func(level, option, value int) error { return unix.SetsockoptInt(s.fd, level, option, value) }
	_ = set(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) // without the right to, the buffers are those that all have
	_ = set(unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer)
	err = errors.Join(set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1), unix.Bind(s.fd, &unix.SockaddrInet4{}))
	if err != nil {
		s.close()
	}
	return s, err
}

func (s socket) close() { unix.Close(s.fd) }

// wait waits until something can be received, or the time is over.
func (s socket) wait(most time.Duration) error {
	ts := unix.NsecToTimespec(int64(max(0, most)))
	_, err := unix.Ppoll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, &ts, nil)
	if err == unix.EINTR {
		return nil
	}
	return err
}

// outbox holds datagrams that are sent together, each from an address of its own.
type outbox struct {
	to    unix.RawSockaddrInet4
	slots []slot
	msgs  []mmsg.Header
	n     int // in use
}

type slot struct {
	data    []byte
	iov     unix.Iovec
	control struct { // IP_PKTINFO: the source
		hdr  unix.Cmsghdr
		info unix.Inet4Pktinfo
	}
}

// newOutbox has room for so many.
func newOutbox(to netip.AddrPort, room int) *outbox {
	o := &outbox{slots: make([]slot, room), msgs: make([]mmsg.Header, room)}
	o.aim(to)
	for i := range o.slots {
		s, h := &o.slots[i], &o.msgs[i].Hdr
		s.control.hdr = unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_PKTINFO}
		s.control.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.to)), unix.SizeofSockaddrInet4
		h.Iov = &s.iov
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&s.control))
		h.SetControllen(int(unsafe.Sizeof(s.control)))
	}
	return o
}

// aim changes where all go.
func (o *outbox) aim(to netip.AddrPort) {
	o.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&o.to.Port))[:], to.Port())
}

func (o *outbox) full() bool { return o.n == len(o.slots) }

// add gives the memory of another datagram, of that size and source; it is written
// before the next call. The outbox is not full.
func (o *outbox) add(from netip.Addr, size int) []byte {
	s := &o.slots[o.n]
	o.n++
	if cap(s.data) < size {
		s.data = make([]byte, size)
	}
	s.data = s.data[:size]
	s.iov.Base = &s.data[0]
	s.iov.SetLen(size)
	s.control.info.Spec_dst = from.As4()
	return s.data
}

// flush sends all that was added, and forgets it.
func (o *outbox) flush(s socket) error {
	n := o.n
	o.n = 0
	return o.send(s, 0, n)
}

// send sends the datagrams from number a to before b.
func (o *outbox) send(s socket, a, b int) error {
	for a < b {
		n, err := mmsg.Send(s.fd, o.msgs[a:b])
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("sending %d datagrams: %w", b-a, err)
		}
		a += n
	}
	return nil
}

// inbox is memory for what is received together.
type inbox struct {
	msgs []mmsg.Header
	bufs [burst][maxReceived]byte
	ctrl [burst][64]byte
	iovs [burst]unix.Iovec
}

// received is a datagram, until the next receive, and when the kernel had it.
type received struct {
	data []byte
	at   time.Time
}

func newInbox() *inbox {
	in := &inbox{msgs: make([]mmsg.Header, burst)}
	for i := range in.msgs {
		in.iovs[i].Base = &in.bufs[i][0]
		in.iovs[i].SetLen(maxReceived)
		in.msgs[i].Hdr.Iov = &in.iovs[i]
		in.msgs[i].Hdr.SetIovlen(1)
	}
	return in
}

// receive appends what is there to all, and does not wait.
func (in *inbox) receive(s socket, all []received) ([]received, error) {
	for i := range in.msgs {
		in.msgs[i].Hdr.Control = &in.ctrl[i][0]
		in.msgs[i].Hdr.SetControllen(len(in.ctrl[i]))
	}
	n, err := mmsg.Receive(s.fd, in.msgs, unix.MSG_DONTWAIT)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		return all, fmt.Errorf("receiving: %w", err)
	}
	for i := range in.msgs[:n] {
		m := &in.msgs[i]
		all = append(all, received{in.bufs[i][:m.Len], stamp(in.ctrl[i][:m.Hdr.Controllen])})
	}
	return all, nil
}

// stamp finds SCM_TIMESTAMPNS, the only control message that was asked for.
func stamp(control []byte) time.Time {
	const at = unix.SizeofCmsghdr
	if len(control) < at+int(unsafe.Sizeof(unix.Timespec{})) {
		return time.Now()
	}
	return time.Unix((*unix.Timespec)(unsafe.Pointer(&control[at])).Unix())
}
