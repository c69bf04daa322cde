package conn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/internal/offload"

	"golang.org/x/sys/unix"
)

// Faults at the system calls, one by one: what was sent again, what was lost
// and counted, what is remembered, and that the rest of the batch went.

// failing is a kernel that refuses some messages, like Linux: the error of one
// that is not the first of a call comes with the next call. A zero errno is a
// call that sends nothing and does not say why.
type failing struct {
	fakeKernel
	hits  func(sentMessage) bool
	errno unix.Errno
	times int // that are left; negative: without end
}

func (k *failing) listen(t *testing.T) *linuxSockets {
	s := k.fakeKernel.listen(t)
	sys := kernel
	sys.sendmmsg = k.sendmmsg
	s.v4.sys, s.v6.sys = &sys, &sys
	return s
}

func (k *failing) sendmmsg(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	k.rule = func(sentMessage) unix.Errno { return 0 }
	for i := range msgs {
		if k.times == 0 || !k.hits(decode(&msgs[i].hdr)) {
			continue
		}
		if i > 0 {
			return k.fakeKernel.sendmmsg(fd, msgs[:i])
		}
		k.times--
		return 0, k.errno
	}
	return k.fakeKernel.sendmmsg(fd, msgs)
}

func TestSendFaults(t *testing.T) {
	const (
		gso    = "every GSO message"
		once   = "one call"
		always = "every message"
	)
	type outcome struct {
		lost         int    // runs to peer1 with Err, of 2
		socket, dest string // why GSO is off for the socket, for peer1
		noBuffers    uint64
		blocked      uint64
		fallbacks    uint64
		broken       bool // the error says that the socket is
	}
	for _, c := range []struct {
		errno unix.Errno
		when  string
		want  outcome
	}{
		{unix.EIO, gso, outcome{socket: "EIO", fallbacks: 1}},
		{unix.EIO, once, outcome{socket: "EIO", fallbacks: 1}},
		{unix.EIO, always, outcome{lost: 2, fallbacks: 1}},
		{unix.EINVAL, gso, outcome{dest: "EINVAL", fallbacks: 1}},
		{unix.EINVAL, once, outcome{dest: "EINVAL", fallbacks: 1}},
		{unix.EINVAL, always, outcome{lost: 2, fallbacks: 1}},
		{unix.EMSGSIZE, gso, outcome{dest: "EMSGSIZE", fallbacks: 1}},
		{unix.EMSGSIZE, once, outcome{dest: "EMSGSIZE", fallbacks: 1}},
		{unix.EMSGSIZE, always, outcome{lost: 2, fallbacks: 1}},
		{unix.ENOBUFS, gso, outcome{lost: 1, noBuffers: 1}},
		{unix.ENOBUFS, once, outcome{noBuffers: 1}},
		{unix.ENOBUFS, always, outcome{lost: 2, noBuffers: 2}},
		{unix.ENOMEM, once, outcome{noBuffers: 1}},
		{unix.ENOMEM, always, outcome{lost: 2, noBuffers: 2}},
		{unix.EAGAIN, once, outcome{blocked: 1}},
		{unix.EINTR, once, outcome{}},
		{unix.ECONNREFUSED, once, outcome{}},
		{unix.ECONNREFUSED, always, outcome{lost: 2}},
		{unix.EPERM, gso, outcome{lost: 1}},
		{unix.EPERM, once, outcome{lost: 1}},
		{unix.EPERM, always, outcome{lost: 2}},
		{unix.ENETUNREACH, once, outcome{lost: 1}},
		{unix.ENETUNREACH, always, outcome{lost: 2}},
		{unix.EHOSTUNREACH, once, outcome{lost: 1}},
		{unix.EACCES, always, outcome{lost: 2}}, {unix.EHOSTUNREACH, always, outcome{lost: 2}}, {unix.EADDRNOTAVAIL, always, outcome{lost: 2}},
		{unix.ENETDOWN, always, outcome{lost: 2}}, {unix.ENODEV, always, outcome{lost: 2}}, {unix.EDESTADDRREQ, always, outcome{lost: 2}},
		{unix.EFAULT, always, outcome{lost: 2}}, {unix.EOPNOTSUPP, always, outcome{lost: 2}}, {unix.ENFILE, always, outcome{lost: 2}},
		{unix.EBADF, always, outcome{lost: 2, broken: true}}, {unix.ENOTSOCK, always, outcome{lost: 2, broken: true}}, {unix.EPIPE, always, outcome{lost: 2, broken: true}},
		{0, once, outcome{noBuffers: 1}},
		{0, always, outcome{lost: 2, noBuffers: 2}},
	} {
		for _, most := range []int{0, 1, 2} { // messages a call takes: short counts
			t.Run(fmt.Sprintf("%s for %s, %d a call", unix.ErrnoName(c.errno), c.when, most), func(t *testing.T) {
				k := &failing{errno: c.errno, times: -1, hits: func(m sentMessage) bool {
					return m.to == peer1.Remote && (c.when != gso || m.segment != 0)
				}}
				if c.when == once {
					k.times = 1
				}
				k.most = most
				s := k.listen(t)
				data := payload(250)
				runs := []Run{
					{Data: data, Segment: 100, To: peer2}, {Data: data, Segment: 100, To: peer1}, {Data: data, Segment: 100, To: peer6},
					{Data: data, Segment: 250, To: peer1}, {Data: data, Segment: 100, To: peer2},
				}
				s.Send(runs)
				got := outcome{socket: whyOff(s, ""), dest: whyOff(s, peer1.Remote.Addr().String())}
				var arrive []byte
				for i, r := range runs {
					switch {
					case r.To != peer1 && r.Err != nil:
						t.Errorf("run %d, with which nothing is wrong: %v", i, r.Err)
					case r.To == peer1 && r.Err != nil:
						got.lost++
						got.broken = Broken(r.Err)
						if r.Err != c.errno && c.errno != 0 {
							t.Errorf("run %d: %v", i, r.Err)
						}
					case r.To == peer1:
						arrive = append(arrive, data...)
					}
				}
				if !bytes.Equal(k.bytes(peer1), arrive) || !bytes.Equal(k.bytes(peer2), append(data[:250:250], data...)) || !bytes.Equal(k.bytes(peer6), data) {
					t.Errorf("%d, %d and %d bytes were sent, not every byte once and in order", len(k.bytes(peer1)), len(k.bytes(peer2)), len(k.bytes(peer6)))
				}
				st := s.Stats()
				got.noBuffers, got.blocked, got.fallbacks = st.NoBuffers, st.Blocked, st.GSOFallbacks
				if got != c.want {
					t.Errorf("%+v, want %+v", got, c.want)
				}
				if datagrams := uint64(9 + 3 + 1); st.SendErrors != uint64(got.lost) || got.lost == 0 && st.Sent != datagrams {
					t.Errorf("counted %d sent, %d errors", st.Sent, st.SendErrors)
				}
				if !s.v6.gso.On() {
					t.Error("the other socket is blamed too")
				}
			})
		}
	}
}

// whyOff is why GSO is off on the IPv4 socket (towards one address), empty if it
// is on.
func whyOff(s *linuxSockets, to string) string {
	for _, o := range s.Offloads() {
		if o.Where == "udp4" && o.Name == "gso" && o.To == to {
			return o.Why
		}
	}
	return ""
}

// One of the datagrams of a refused GSO message cannot go: the others do, and
// GSO is to blame for the refusal.
func TestFallbackWithABadDatagram(t *testing.T) {
	k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
		switch {
		case m.segment != 0:
			return unix.EMSGSIZE
		case m.data[0] == 'b':
			return unix.EPERM
		}
		return 0
	}}
	s := k.listen(t)
	runs := []Run{{Data: []byte("abc"), Segment: 1, To: peer1}}
	s.Send(runs)
	if runs[0].Err != unix.EPERM || string(k.bytes(peer1)) != "ac" || whyOff(s, peer1.Remote.Addr().String()) != "EMSGSIZE" {
		t.Errorf("%v, sent %q, %+v", runs[0].Err, k.bytes(peer1), s.Offloads())
	}
	if st := s.Stats(); st.Sent != 2 || st.SendErrors != 1 {
		t.Errorf("%+v", st)
	}
}

// A send buffer that stays full costs its socket's messages, after one wait, until
// something fits again. The other socket knows nothing of it.
func TestSendBufferStaysFull(t *testing.T) {
	full := true
	k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
		if full && m.to.Addr().Is4() {
			return unix.EAGAIN
		}
		return 0
	}}
	s := k.listen(t)
	s.v4.patience = time.Millisecond
	send := func(lost bool, blocked, dropped uint64) {
		t.Helper()
		runs := []Run{{Data: []byte("abc"), Segment: 1, To: peer1}, {Data: []byte("x"), To: peer6}, {Data: []byte("d"), To: peer2}}
		s.Send(runs)
		if runs[1].Err != nil || (runs[0].Err == errFull) != lost || (runs[2].Err == errFull) != lost {
			t.Errorf("%v, %v, %v", runs[0].Err, runs[1].Err, runs[2].Err)
		}
		if st := s.Stats(); st.Blocked != blocked || st.BufferFull != dropped {
			t.Errorf("%d times waited, %d messages dropped, not %d and %d", st.Blocked, st.BufferFull, blocked, dropped)
		}
	}
	send(true, 1, 2)
	send(true, 1, 4)
	full = false
	send(false, 1, 4)
	full = true
	send(true, 2, 6)
	if whyOff(s, peer1.Remote.Addr().String()) != "" || whyOff(s, "") != "" {
		t.Error("GSO is blamed for it")
	}
}

// Closing the sockets ends a wait for room in the send buffer.
func TestCloseEndsFullSendBuffer(t *testing.T) {
	tried := make(chan struct{}, 100)
	k := &fakeKernel{rule: func(sentMessage) unix.Errno {
		select {
		case tried <- struct{}{}:
		default:
		}
		return unix.EAGAIN
	}}
	s := k.listen(t)
	s.v4.patience = time.Hour
	runs := []Run{{Data: []byte("x"), To: peer1}, {Data: []byte("y"), To: peer2}}
	done := make(chan struct{})
	go func() { s.Send(runs); close(done) }() // ends with Close
	<-tried
	s.Close()
	<-done
	if runs[0].Err != net.ErrClosed || runs[1].Err != net.ErrClosed {
		t.Errorf("%v, %v", runs[0].Err, runs[1].Err)
	}
}

func TestReceiveFaults(t *testing.T) {
	for errno, counted := range map[unix.Errno]uint64{
		unix.EIO: 3, unix.EINVAL: 3, unix.EMSGSIZE: 3, unix.ENOBUFS: 3, unix.ENOMEM: 3, unix.EPERM: 3,
		unix.ENETUNREACH: 3, unix.EHOSTUNREACH: 3, unix.ECONNREFUSED: 3,
		unix.EAGAIN: 0, unix.EINTR: 0,
		0: 0, // delivers nothing and does not say why
	} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			faults := 3
			var send func()
			sys := kernel
			sys.recvmmsg = func(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
				if faults > 0 {
					faults--
					send() // now, so that who waits after EAGAIN is woken
					return 0, errno
				}
				return kernel.recvmmsg(fd, msgs[:1]) // a short count each time
			}
			n, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			s := n.(*linuxSockets)
			to := &Endpoint{Remote: loopback(ipv4, s.Port())}
			send = func() { s.Send([]Run{{Data: []byte("ab"), Segment: 1, To: to}}) }
			if got, _ := collect(t, receiver(t, s, ipv4), NewBatch(4), 6); string(got) != "ababab" {
				t.Errorf("got %q", got)
			}
			if st := s.Stats(); st.ReceiveErrors != counted || st.Received != 6 || st.Truncated != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// A descriptor that is no socket any more ends a receiver at once, and so does a
// failure of any kind that lasts 10 s, at a hundred calls a second. After
// Close it is no failure.
func TestReceiveEnds(t *testing.T) {
	for errno, want := range map[unix.Errno]struct {
		after time.Duration
		calls uint64
	}{
		unix.EBADF: {0, 1}, unix.ENOTSOCK: {0, 1}, unix.EPIPE: {0, 1},
		unix.EIO: {999 * readPause, 1016}, unix.ENOMEM: {999 * readPause, 1016}, unix.ENOBUFS: {999 * readPause, 1016},
		unix.EINVAL: {999 * readPause, 1016}, unix.EFAULT: {999 * readPause, 1016}, unix.ENETDOWN: {999 * readPause, 1016},
	} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			sys := kernel
			sys.recvmmsg = func(uintptr, []mmsghdr) (int, unix.Errno) { return 0, errno }
			s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			r := receiver(t, s, ipv4)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := r.Receive(NewBatch(1))
				if !errors.Is(err, errno) || errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "IPv4") {
					t.Errorf("error %v", err)
				}
				if d := time.Since(start); d != want.after || s.(*linuxSockets).Stats().ReceiveErrors != want.calls {
					t.Errorf("after %v and %d calls", d, s.(*linuxSockets).Stats().ReceiveErrors)
				}
			})
			if s.Close(); r.Receive(NewBatch(1)) != net.ErrClosed {
				t.Error("closed sockets are called broken")
			}
		})
	}
}

// States of sockets whose options were refused or not wanted.
func TestOffloadStatesOfSockets(t *testing.T) {
	s, err := NewLinux(Options{NoGSO: true, NoGRO: true}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, o := range s.(*linuxSockets).Offloads() {
		if o.On || o.Why != offload.Option || !o.Since.IsZero() {
			t.Errorf("%+v", o)
		}
	}
}
