//go:build linux

package load

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/device/config"
	"culvert/noise"
	"culvert/noise/noisetest"
)

// someHub is a responder that nobody is at.
func someHub(t *testing.T) (*noise.Identity, Hub) {
	id, err := noise.NewIdentity(&config.PrivateKey{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return id, Hub{id.PublicKey(), netip.MustParseAddrPort("127.0.0.1:9")}
}

func TestKeysFollowFromTheSeed(t *testing.T) {
	_, hub := someHub(t)
	var all [3]*Clients
	for i, seed := range []uint64{1, 1, 2} {
		c, err := New(hub, seed, 20)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = c
	}
	seen := map[config.PublicKey]bool{}
	for i := range 20 {
		if all[0].Public(i) != all[1].Public(i) {
			t.Errorf("client %d has another key the second time", i)
		}
		seen[all[0].Public(i)], seen[all[2].Public(i)] = true, true
	}
	if len(seen) != 40 {
		t.Errorf("40 clients have %d keys", len(seen))
	}
	for _, n := range []int{0, MaxClients + 1} {
		if _, err := New(hub, 1, n); err == nil {
			t.Errorf("%d clients are no error", n)
		}
	}
}

func TestAddresses(t *testing.T) {
	var c *Clients
	for _, a := range []struct {
		i            int
		inner, outer string
	}{
		{0, "100.64.0.2", "127.64.0.2"}, {254, "100.64.1.0", "127.64.1.0"}, {MaxClients - 1, "100.127.255.255", "127.127.255.255"},
	} {
		if got := c.Inner(a.i).String(); got != a.inner {
			t.Errorf("inner address of %d: %s", a.i, got)
		}
		if got := c.Outer(a.i).String(); got != a.outer {
			t.Errorf("outer address of %d: %s", a.i, got)
		}
	}
	last := stranger(ring - 1)
	if stranger(0) != netip.MustParseAddr("127.128.0.1") || !last.IsLoopback() || last.Compare(c.Outer(MaxClients-1)) <= 0 {
		t.Errorf("strangers are from %v to %v", stranger(0), last)
	}
}

// What the daemon answers becomes a session; what it does not, none.
func TestResponse(t *testing.T) {
	id, hub := someHub(t)
	c, err := New(hub, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Prepare(0, 2); err != nil {
		t.Fatal(err)
	}
	msg := c.all[1].hello.msg
	if !id.CheckMAC1(new(noise.Hasher), msg[:]) {
		t.Fatal("mac1 is not right")
	}
	var remote noise.Remote
	opened, err := id.OpenInitiation(msg[:], func(k config.PublicKey) *noise.Remote {
		if k != c.Public(1) {
			t.Errorf("it is from %v", k)
		}
		remote.Static = k
		remote.Shared, _ = id.StaticShared(k)
		return &remote
	})
	if err != nil {
		t.Fatal(err)
	}
	var response [noise.ResponseSize]byte
	keys, err := noise.CreateResponse(new(counting), &opened, &remote, 77, &response)
	if err != nil {
		t.Fatal(err)
	}
	bad := response
	bad[50] ^= 1
	if c.respond(1, bad[:]) || c.Sessions() != 0 {
		t.Fatal("a session from a damaged response")
	}
	if !c.respond(1, response[:]) || c.Sessions() != 1 {
		t.Fatal("no session")
	}
	for i := range uint64(3) { // one message after another opens, and has the packet in it
		b := make([]byte, transportSize(5))
		c.seal(1, b, []byte("hello"))
		if noise.Receiver(b) != 77 || noise.Counter(b) != i || !keys.Recv.Open(b[noise.TransportHeaderSize:], i) || string(b[16:21]) != "hello" {
			t.Errorf("message %d: % x", i, b)
		}
	}
}

// Clients come to rest with a keepalive each, and then count those that come for them.
func TestRest(t *testing.T) {
	_, hub := someHub(t)
	daemon := openSocket(t)
	bound, err := unix.Getsockname(daemon.fd)
	if err != nil {
		t.Fatal(err)
	}
	hub.Addr = netip.AddrPortFrom(hub.Addr.Addr(), uint16(bound.(*unix.SockaddrInet4).Port))
	c, err := New(hub, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewRest(t.Context(), time.Second); err == nil {
		t.Fatal("they rest without a session")
	}
	for i := range 2 { // not the third
		keys, _ := noisetest.Keypairs(t, uint64(i))
		c.all[i].keys = keys
	}
	r, err := c.NewRest(t.Context(), time.Second)
	if err != nil {
		t.Skip(err) // no 127.0.0.0/8 on this system's loopback
	}
	defer r.Close()
	var from unix.Sockaddr
	for i := range 2 {
		if err := daemon.wait(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		n, source, err := unix.Recvfrom(daemon.fd, make([]byte, 99), unix.MSG_DONTWAIT)
		if err != nil || n != noise.KeepaliveSize || netip.AddrFrom4(source.(*unix.SockaddrInet4).Addr) != c.Outer(i) {
			t.Fatalf("%d bytes from %v, %v", n, source, err)
		}
		from = source
	}
	if _, _, err := unix.Recvfrom(daemon.fd, make([]byte, 99), unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("more than two clients moved: %v", err)
	}
	for _, m := range []struct{ size, receiver int }{{noise.KeepaliveSize, 0}, {noise.KeepaliveSize, 1}, {noise.KeepaliveSize, 3}, {noise.KeepaliveSize + 16, 1}, {4, 0}} {
		b := make([]byte, max(m.size, noise.TransportHeaderSize))
		noise.PutTransportHeader(b, uint32(m.receiver), 0)
		if err := unix.Sendto(daemon.fd, b[:m.size], 0, from); err != nil {
			t.Fatal(err)
		}
	}
	all := int64(0)
	for begin, more := time.Now(), true; more; { // until two have come, and once more
		more = all < 2 && time.Since(begin) < 10*time.Second
		n, err := r.Count(t.Context(), 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		all += n
	}
	if all != 2 {
		t.Errorf("%d keepalives", all)
	}
}

// A client that got a cookie reply says nothing for 5 s, and then proves its address.
func TestCookie(t *testing.T) {
	_, hub := someHub(t)
	c, err := New(hub, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	s := &storm{Clients: c, o: StormOptions{Count: 2, UnderWay: 1}, out: newOutbox(hub.Addr, 4)}
	if err := s.begin(begin, 0, true); err != nil || s.r.Begun != 1 || s.out.n != 1 {
		t.Fatalf("%+v, %d messages, %v", s.r, s.out.n, err)
	}
	checker, source := noise.NewCookieChecker(hub.Public), netip.AddrPortFrom(c.Outer(0), 1)
	var reply [noise.CookieReplySize]byte
	if err := checker.CreateReply(c.clock.Now(), new(counting), s.out.slots[0].data, source, &reply); err != nil {
		t.Fatal(err)
	}
	damaged := reply
	damaged[40] ^= 1
	for range 2 { // the second time it is no longer waited for
		s.take(received{damaged[:], begin})
		s.take(received{reply[:], begin})
	}
	if s.r.CookieReplies != 1 || s.r.Done != 0 {
		t.Errorf("%+v", s.r)
	}
	for _, at := range []struct {
		after time.Duration
		sent  int
	}{{retransmit - 1, 1}, {retransmit, 2}, {retransmit + 1, 2}} {
		if err := s.again(begin.Add(at.after)); err != nil || s.out.n != at.sent || s.r.Retransmitted != at.sent-1 {
			t.Fatalf("after %v: %d messages, %+v, %v", at.after, s.out.n, s.r, err)
		}
	}
	if !checker.CheckMAC2(c.clock.Now(), new(counting), s.out.slots[1].data, source) {
		t.Error("mac2 is not right")
	}
}

// counting is no source of randomness, but one of different bytes.
type counting byte

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		*c++
		b[i] = byte(*c)
	}
	return len(b), nil
}

func TestTransportSize(t *testing.T) {
	for packet, want := range map[int]int{0: noise.KeepaliveSize, 1: 48, 16: 48, 17: 64} {
		if got := transportSize(packet); got != want {
			t.Errorf("%d bytes make %d, not %d", packet, got, want)
		}
	}
}

// What an outbox sends arrives, from the addresses it was said to come from, and again
// after a flush.
func TestOutboxHasSources(t *testing.T) {
	to, from := openSocket(t), openSocket(t)
	bound, err := unix.Getsockname(to.fd)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(bound.(*unix.SockaddrInet4).Port)
	o := newOutbox(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), 4)
	for round := range 2 {
		for i := range 4 {
			if o.full() {
				t.Fatal("it is full already")
			}
			copy(o.add(stranger(i), 3+i), "abcdefg")
		}
		if !o.full() {
			t.Error("4 are not all")
		}
		if err := o.flush(from); err != nil {
			t.Skip(err) // no 127.0.0.0/8 on this system's loopback
		}
		for i := range 4 {
			b := make([]byte, 99)
			n, source, err := unix.Recvfrom(to.fd, b, 0)
			if err != nil {
				t.Fatal(err)
			}
			if address := netip.AddrFrom4(source.(*unix.SockaddrInet4).Addr); address != stranger(i) || string(b[:n]) != "abcdefg"[:3+i] {
				t.Errorf("round %d, datagram %d: %q from %v", round, i, b[:n], address)
			}
		}
	}
}

// A datagram is received with the time when it came, not when it was asked for. (The
// kernel begins to look at the clock a little after the first socket wants it to.)
func TestInboxHasTimes(t *testing.T) {
	to := openSocket(t)
	bound, err := unix.Getsockname(to.fd)
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox()
	if got, err := in.receive(to, nil); len(got) > 0 || err != nil {
		t.Fatalf("%d datagrams, %v", len(got), err)
	}
	var before, at, after time.Time
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		before = time.Now().Round(0)
		if err := unix.Sendto(to.fd, []byte("hello"), 0, bound); err != nil {
			t.Skip(err)
		}
		if err := to.wait(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		after = time.Now().Round(0)
		got, err := in.receive(to, nil)
		if err != nil || len(got) != 1 || string(got[0].data) != "hello" {
			t.Fatal(got, err)
		}
		if at = got[0].at; !at.Before(before) && !at.After(after) {
			return
		}
	}
	t.Errorf("it came at %v, not between %v and %v", at, before, after)
}

func openSocket(t *testing.T) socket {
	s, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}
