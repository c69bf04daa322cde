package conn

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Our control messages are what x/sys makes of the kernel's macros.
func TestControlLayout(t *testing.T) {
	if cmsgHeader != unix.CmsgLen(0) {
		t.Errorf("header of %d bytes, want %d", cmsgHeader, unix.CmsgLen(0))
	}
	var c control
	off := c.putTOS(0, ipv6, 0x8a)
	off = c.putSegment(off, 1452)
	src := netip.MustParseAddr("2001:db8::1")
	off = c.putSource(off, ipv6, src, 7)
	if want := unix.CmsgSpace(4) + unix.CmsgSpace(2) + unix.CmsgSpace(unix.SizeofInet6Pktinfo); off != want {
		t.Errorf("%d bytes, want %d", off, want)
	}
	msgs, err := unix.ParseSocketControlMessage(c[:off])
	if err != nil || len(msgs) != 3 {
		t.Fatal(msgs, err)
	}
	for i, want := range []unix.Cmsghdr{
		{Level: unix.IPPROTO_IPV6, Type: unix.IPV6_TCLASS},
		{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT},
		{Level: unix.IPPROTO_IPV6, Type: unix.IPV6_PKTINFO},
	} {
		if h := msgs[i].Header; h.Level != want.Level || h.Type != want.Type {
			t.Errorf("message %d: %+v", i, h)
		}
	}
	var m Message
	m.parseControl(c[:off])
	if m.Local != src || m.IfIndex != 7 || m.TOS != 0x8a {
		t.Errorf("%+v", m)
	}
}

// Control data that nobody checked neither panics nor makes parsing endless.
func FuzzParseControl(f *testing.F) {
	var c control
	n := c.putSource(c.putSegment(c.putTOS(0, ipv4, 1), 1452), ipv4, netip.MustParseAddr("192.0.2.1"), 0)
	f.Add(c[:n])
	n = c.putSource(c.putTOS(0, ipv6, 1), ipv6, netip.MustParseAddr("2001:db8::1"), 3)
	f.Add(c[:n])
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Message
		got.parseControl(data)
		// What x/sys can parse must mean the same to us.
		msgs, err := unix.ParseSocketControlMessage(data)
		if err != nil {
			return
		}
		var want Message
		for _, m := range msgs {
			want.control(int(m.Header.Level), int(m.Header.Type), m.Data)
		}
		if got.Local != want.Local || got.IfIndex != want.IfIndex || got.TOS != want.TOS || got.Segment != want.Segment {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestSockaddr(t *testing.T) {
	for _, s := range []string{"192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1]:65535"} {
		want := netip.MustParseAddrPort(s)
		sa := sockaddr{0: 0xff, 20: 0xff, 27: 0xff}
		if want.Addr().Is4() {
			if n := sa.put4(want); n != unix.SizeofSockaddrInet4 {
				t.Errorf("length %d", n)
			}
		} else if n := sa.put6(want, 9); n != unix.SizeofSockaddrInet6 {
			t.Errorf("length %d", n)
		}
		got, scope, ok := sa.get()
		if !ok || got != want || (want.Addr().Is6() && scope != 9) {
			t.Errorf("%v came back as %v, scope %d", want, got, scope)
		}
	}
}

// The route checks stay within their budget and get a new one each second.
func TestCheckBudget(t *testing.T) {
	for _, most := range []int{freshPerSecond, checksPerSecond} {
		var b checkBudget
		now := time.Unix(1, 0)
		for i := range most + 1 {
			if ok := b.take(now, most); ok != (i < most) {
				t.Fatalf("check %d of %d: %v", i, most, ok)
			}
		}
		if !b.take(now.Add(time.Second), most) {
			t.Error("no new budget after a second")
		}
	}
}

// Thousands of endpoints that are new do not keep those that are known from being
// looked at after a change.
func TestFreshEndpointsHaveABudgetOfTheirOwn(t *testing.T) {
	// All of it is in one second, however slow the machine is.
	synctest.Test(t, func(t *testing.T) {
		query, err := newRouteQuery()
		if err != nil {
			t.Skip("no netlink:", err)
		}
		defer query.close()
		r := &routes{counters: new(counters), query: query}
		r.gen.Store(nextGeneration())
		endpoint := func(i int) *Endpoint {
			return &Endpoint{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9), Local: netip.MustParseAddr("127.0.0.1")}
		}
		known := endpoint(0)
		if !r.good(nil, known) || r.counters.routeChecks.Load() != 1 {
			t.Fatal("the first is not looked at")
		}
		for i := 1; i < 3*freshPerSecond; i++ {
			r.good(nil, endpoint(i))
		}
		if r.counters.routeDeferred.Load() == 0 {
			t.Error("all new ones are looked at")
		}
		r.gen.Store(nextGeneration())
		before := r.counters.routeChecks.Load()
		if r.good(nil, known); r.counters.routeChecks.Load() != before+1 {
			t.Error("the known one is not looked at")
		}
	})
}
