package conn

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"culvert/internal/offload"

	"golang.org/x/sys/unix"
)

// fakeKernel is a kernel that keeps what is sent, and refuses what rule says.
type fakeKernel struct {
	mu    sync.Mutex
	rule  func(m sentMessage) unix.Errno
	most  int // messages per call; 0: all
	calls int
	sent  []sentMessage
}

// sentMessage is a message as the kernel sees it.
type sentMessage struct {
	to      netip.AddrPort
	data    []byte
	segment int        // UDP_SEGMENT, 0 if not there
	source  netip.Addr // packet info, invalid if not there
	link    uint32
	tos     byte
}

// listen makes sockets on real ports whose sends go to k.
func (k *fakeKernel) listen(t *testing.T) *linuxSockets {
	sys := kernel
	sys.sendmmsg = k.sendmmsg
	s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ls := s.(*linuxSockets)
	if ls.v4 == nil || ls.v6 == nil {
		t.Skip("need IPv4 and IPv6")
	}
	ls.v4.gso.Switch, ls.v6.gso.Switch = offload.Switch{}, offload.Switch{}
	ls.routes.query.close() // sources in these tests are for the fake to judge
	ls.routes.query = nil
	if ls.routes.watch != nil { // changes on this machine are no business of theirs
		ls.routes.watch.close()
		ls.routes.watch = nil
	}
	return ls
}

func (k *fakeKernel) sendmmsg(_ uintptr, msgs []mmsghdr) (int, unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	for i := range msgs {
		if k.most > 0 && i == k.most {
			return i, 0
		}
		m := decode(&msgs[i].hdr)
		if errno := k.rule(m); errno != 0 {
			if i > 0 {
				return i, 0
			}
			return 0, errno
		}
		k.sent = append(k.sent, m)
	}
	return len(msgs), 0
}

func decode(h *unix.Msghdr) (m sentMessage) {
	var sa sockaddr
	copy(sa[:], unsafe.Slice(h.Name, h.Namelen))
	m.to, _, _ = sa.get()
	m.data = bytes.Clone(unsafe.Slice(h.Iov.Base, h.Iov.Len))
	c := unsafe.Slice(h.Control, h.Controllen)
	var got Message
	got.parseControl(c)
	m.source, m.link, m.tos = got.Local, got.IfIndex, got.TOS
	for len(c) > 0 {
		n := cmsgLen(c)
		if level, kind := c[wordSize], c[wordSize+4]; level == unix.SOL_UDP && kind == unix.UDP_SEGMENT {
			m.segment = int(c[cmsgHeader]) | int(c[cmsgHeader+1])<<8
		}
		c = c[min(cmsgAlign(n), len(c)):]
	}
	return m
}

func (k *fakeKernel) bytes(to *Endpoint) (all []byte) {
	for _, m := range k.sent {
		if m.to == to.Remote {
			all = append(all, m.data...)
		}
	}
	return all
}

var (
	peer1 = &Endpoint{Remote: netip.MustParseAddrPort("192.0.2.1:1")}
	peer2 = &Endpoint{Remote: netip.MustParseAddrPort("192.0.2.2:2")}
	peer6 = &Endpoint{Remote: netip.MustParseAddrPort("[2001:db8::6]:6")}
)

func TestGSOFallback(t *testing.T) {
	for _, tc := range []struct {
		errno  unix.Errno
		gsoOff bool // for the socket
		listed int  // destinations without GSO
	}{
		{unix.EIO, true, 0},
		{unix.EMSGSIZE, false, 1},
		{unix.EINVAL, false, 1},
	} {
		t.Run(unix.ErrnoName(tc.errno), func(t *testing.T) {
			k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
				if m.segment != 0 && m.to == peer1.Remote {
					return tc.errno
				}
				return 0
			}}
			s := k.listen(t)
			data := payload(5*100 + 1)
			send := func() {
				runs := []Run{{Data: data, Segment: 100, To: peer2}, {Data: data, Segment: 100, To: peer1}, {Data: data, Segment: 100, To: peer2}}
				s.Send(runs)
				for i, r := range runs {
					if r.Err != nil || r.SourceLost {
						t.Errorf("run %d: %v, source lost %v", i, r.Err, r.SourceLost)
					}
				}
			}
			send()
			if !bytes.Equal(k.bytes(peer1), data) || !bytes.Equal(k.bytes(peer2), append(slices.Clone(data), data...)) {
				t.Error("not every byte was sent once and in order")
			}
			st := s.Stats()
			if s.v4.gso.On() == tc.gsoOff || !s.v6.gso.On() || st.NoGSODestinations != tc.listed || st.GSOFallbacks != 1 {
				t.Errorf("stats %+v", st)
			}
			// Remembered: no second refusal.
			send()
			if st := s.Stats(); st.GSOFallbacks != 1 || st.Sent != 2*3*6 {
				t.Errorf("second time: %+v", st)
			}
		})
	}
}

func TestGSONotBlamedForHardErrors(t *testing.T) {
	k := &fakeKernel{rule: func(sentMessage) unix.Errno { return unix.EIO }}
	s := k.listen(t)
	run := []Run{{Data: payload(300), Segment: 100, To: peer1}}
	s.Send(run)
	if run[0].Err != unix.EIO || !s.v4.gso.On() {
		t.Errorf("err %v, GSO on %v", run[0].Err, s.v4.gso.On())
	}
}

func TestOneBadDatagramLosesNoOther(t *testing.T) {
	for _, most := range []int{0, 1, 3} { // also with short counts
		k := &fakeKernel{most: most, rule: func(m sentMessage) unix.Errno {
			if m.data[0]%5 == 0 {
				return unix.EPERM
			}
			return 0
		}}
		s := k.listen(t)
		var runs []Run
		for i := range 200 {
			to := peer1
			if i%2 == 1 {
				to = peer6
			}
			runs = append(runs, Run{Data: []byte{byte(i)}, To: to})
		}
		s.Send(runs)
		for i, r := range runs {
			if wantErr := i%5 == 0; (r.Err == unix.EPERM) != wantErr {
				t.Errorf("run %d: %v", i, r.Err)
			}
		}
		if len(k.sent) != 160 {
			t.Errorf("%d of 160 sent", len(k.sent))
		}
		if st := s.Stats(); st.SendErrors != 40 || st.Sent != 160 {
			t.Errorf("%+v", st)
		}
	}
}

func TestNoBuffersIsTriedOnceMore(t *testing.T) {
	refusals := 1
	k := &fakeKernel{rule: func(sentMessage) unix.Errno {
		if refusals > 0 {
			refusals--
			return unix.ENOBUFS
		}
		return 0
	}}
	s := k.listen(t)
	runs := []Run{{Data: []byte("a"), To: peer1}, {Data: []byte("b"), To: peer1}}
	if s.Send(runs); runs[0].Err != nil || string(k.bytes(peer1)) != "ab" {
		t.Errorf("%v, sent %q", runs[0].Err, k.bytes(peer1))
	}
	refusals = 2
	if s.Send(runs[:1]); runs[0].Err != unix.ENOBUFS {
		t.Errorf("twice refused: %v", runs[0].Err)
	}
	if st := s.Stats(); st.NoBuffers != 2 {
		t.Errorf("%+v", st)
	}
}

func TestFullBufferIsWaitedFor(t *testing.T) {
	full := 1
	k := &fakeKernel{rule: func(sentMessage) unix.Errno {
		if full > 0 {
			full--
			return unix.EAGAIN
		}
		return 0
	}}
	s := k.listen(t)
	runs := []Run{{Data: []byte("a"), To: peer1}}
	if s.Send(runs); runs[0].Err != nil || len(k.sent) != 1 {
		t.Errorf("%v, %d sent", runs[0].Err, len(k.sent))
	}
	if st := s.Stats(); st.Blocked != 1 {
		t.Errorf("%+v", st)
	}
}

func TestLostSourceIsLeftAway(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			gone := netip.MustParseAddr("198.51.100.1")
			k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
				if m.source == gone {
					return errno
				}
				return 0
			}}
			s := k.listen(t)
			to := &Endpoint{Remote: peer1.Remote, Local: gone, IfIndex: 1}
			data := payload(100 * 150) // more than one message
			runs := []Run{{Data: data, Segment: 100, To: to, TOS: 0x88}, {Data: data, Segment: 100, To: to}}
			s.Send(runs)
			for i, r := range runs {
				if r.Err != nil || !r.SourceLost {
					t.Errorf("run %d: %v, source lost %v", i, r.Err, r.SourceLost)
				}
			}
			if !bytes.Equal(k.bytes(to), append(slices.Clone(data), data...)) {
				t.Error("not every byte was sent once and in order")
			}
			if m := k.sent[0]; m.segment != 100 || m.tos != 0x88 {
				t.Errorf("GSO or TOS was lost with the source: segment %d, TOS %#x", m.segment, m.tos)
			}
			if k.calls != 2+1 { // refused, again without, the rest
				t.Errorf("%d calls", k.calls)
			}
			if s.Stats().NoGSODestinations != 0 {
				t.Error("GSO blamed for the source")
			}
		})
	}
}

func TestSourceKeptWhenGSOIsRefused(t *testing.T) {
	k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
		if m.segment != 0 {
			return unix.EINVAL
		}
		return 0
	}}
	s := k.listen(t)
	to := &Endpoint{Remote: peer1.Remote, Local: netip.MustParseAddr("127.0.0.1")}
	runs := []Run{{Data: payload(300), Segment: 100, To: to}}
	s.Send(runs)
	if runs[0].Err != nil || runs[0].SourceLost || len(k.sent) != 3 {
		t.Fatalf("%+v, %d sent", runs[0], len(k.sent))
	}
	for _, m := range k.sent {
		if m.source != to.Local {
			t.Errorf("source %v", m.source)
		}
	}
}

func TestLongRunsAreSplit(t *testing.T) {
	k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
		if n := datagrams(len(m.data), m.segment); n > maxSegments {
			return unix.EINVAL
		}
		return 0
	}}
	s := k.listen(t)
	for _, to := range []*Endpoint{peer1, peer6} {
		k.sent = nil
		for _, segment := range []int{1, 16, 1452, 1500, 40_000} {
			data := payload(100*segment + 1)
			runs := []Run{{Data: data, Segment: segment, To: to}}
			k.sent = nil
			if s.Send(runs); runs[0].Err != nil || !bytes.Equal(k.bytes(to), data) {
				t.Errorf("segment %d: %v", segment, runs[0].Err)
			}
			for _, m := range k.sent {
				if len(m.data) > maxPayload4 || (to == peer6 && len(m.data) > maxPayload6) {
					t.Errorf("message of %d bytes", len(m.data))
				}
				if m.segment != 0 && len(m.data) <= m.segment {
					t.Error("GSO asked for a single datagram")
				}
			}
		}
	}
	if st := s.Stats(); st.GSOFallbacks != 0 {
		t.Errorf("%+v", st)
	}
}

func TestNoGSO(t *testing.T) {
	s, err := NewLinux(Options{NoGSO: true, NoGRO: true}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.(interface{ Stats() Stats }).Stats(); st.GSO || st.GRO {
		t.Errorf("%+v", st)
	}
}

func TestGovernorIsBounded(t *testing.T) {
	var g governor
	for i := range maxRefusing + 5 {
		_, ok := g.fault(unix.EMSGSIZE, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		if ok != (i < maxRefusing) {
			t.Fatalf("destination %d remembered: %v", i, ok)
		}
	}
	if len(g.states("")) != 1+maxRefusing || g.allows(netip.AddrFrom4([4]byte{10, 0, 0, 0})) || !g.allows(netip.AddrFrom4([4]byte{10, 9, 0, 0})) {
		t.Error("wrong table")
	}
}

// A receiver goes on after errors of single datagrams and cut messages.
func TestReceiveGoesOnAfterErrors(t *testing.T) {
	script := []unix.Errno{unix.ECONNREFUSED, unix.EINTR, unix.EHOSTUNREACH, unix.ENOMEM}
	sys := kernel
	cut := true
	sys.recvmmsg = func(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
		if len(script) > 0 {
			errno := script[0]
			script = script[1:]
			return 0, errno
		}
		n, errno := kernel.recvmmsg(fd, msgs)
		if errno == 0 && cut {
			msgs[0].hdr.Flags |= unix.MSG_CTRUNC
			cut = false
		}
		return n, errno
	}
	s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := receiver(t, s, ipv4)
	to := &Endpoint{Remote: loopback(ipv4, s.Port())}
	s.Send([]Run{{Data: []byte("one"), To: to}, {Data: []byte("three"), To: to}})
	b := NewBatch(4)
	if got, _ := collect(t, r, b, 5); string(got) != "three" {
		t.Errorf("got %q", got)
	}
	if st := s.(*linuxSockets).Stats(); st.ReceiveErrors != 3 || st.Truncated != 1 {
		t.Errorf("%+v", st)
	}
}

// What is cut is told, so that who has to do with little of it can stop.
func TestReceiveTellsWhatWasCut(t *testing.T) {
	sys := kernel
	s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	calls := 0
	sys.recvmmsg = func(_ uintptr, msgs []mmsghdr) (int, unix.Errno) {
		if calls++; calls > 2 {
			return 0, unix.EBADF
		}
		for i := range msgs[:2] {
			msgs[i].hdr.Flags = unix.MSG_TRUNC
		}
		return 2, 0
	}
	r, b := receiver(t, s, ipv4), NewBatchOf(3, 2<<10)
	defer b.Free()
	for range 2 {
		if err := r.Receive(b); err != nil || b.Cut != 2 || len(b.Messages) != 0 {
			t.Fatalf("%d messages, %d cut, %v", len(b.Messages), b.Cut, err)
		}
	}
	if st := s.(*linuxSockets).Stats(); st.Truncated != 4 {
		t.Errorf("%d were counted", st.Truncated)
	}
}

// A family that is missing must not turn the port into 0, and an error must
// not leave a socket behind.
func TestListenFamilies(t *testing.T) {
	for _, tc := range []struct {
		missing   family
		receivers int
	}{{ipv4, 1}, {ipv6, 1}} {
		sys := kernel
		sys.listen = refuseFamily(tc.missing, unix.EAFNOSUPPORT)
		s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.Port() == 0 || len(s.Receivers()) != tc.receivers {
			t.Errorf("without %v: port %d, %d receivers", tc.missing, s.Port(), len(s.Receivers()))
		}
		run := []Run{{Data: []byte("x"), To: &Endpoint{Remote: loopback(tc.missing, 9)}}}
		if s.Send(run); run[0].Err == nil {
			t.Errorf("sent without %v", tc.missing)
		}
		s.Close()
	}
}

// Without netlink every source is taken for good, and the lock that guards
// look-ups is taken once per endpoint and generation only.
func TestSourcesWithoutNetlink(t *testing.T) {
	k := &fakeKernel{rule: func(sentMessage) unix.Errno { return 0 }}
	s := k.listen(t) // has no netlink
	to := &Endpoint{Remote: peer1.Remote, Local: netip.MustParseAddr("198.51.100.1"), IfIndex: 9}
	runs := []Run{{Data: []byte("x"), To: to}}
	if s.Send(runs); runs[0].Err != nil || runs[0].SourceLost || k.sent[0].source != to.Local {
		t.Errorf("%+v, source %v", runs[0], k.sent[0].source)
	}
	if to.gen.Load() != s.routes.generation() {
		t.Error("not remembered as looked at")
	}
	if err := s.SetMark(0); err != nil || to.gen.Load() == s.routes.generation() {
		t.Errorf("SetMark: %v, or it did not make sources be looked at again", err)
	}
}
