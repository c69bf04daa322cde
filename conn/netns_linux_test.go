package conn

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name. It lives on one OS thread,
// which ends with the test: then nothing of it is left.
type namespace struct {
	t    testing.TB
	path string // of the namespace, for ip(8)
	do   chan func()
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8)")
	}
	ns := &namespace{t: t, do: make(chan func())}
	ready := make(chan error)
	ended := make(chan struct{})
	go func() { // ends when the test closes do
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with us
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range ns.do {
			f()
		}
	}()
	t.Cleanup(func() {
		close(ns.do)
		<-ended
	})
	if err := <-ready; err != nil {
		t.Skipf("unshare: %v", err)
	}
	ns.ip("link set lo up")
	return ns
}

// in runs f in the namespace.
func (ns *namespace) in(f func() error) {
	ns.t.Helper()
	result := make(chan error)
	ns.do <- func() { result <- f() }
	if err := <-result; err != nil {
		ns.t.Fatal(err)
	}
}

// ip runs ip(8) in the namespace, once for each line.
func (ns *namespace) ip(lines string) {
	ns.t.Helper()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		ns.in(func() error {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", line, err, out)
			}
			return nil
		})
	}
}

func (ns *namespace) sysctl(name, value string) {
	ns.t.Helper()
	ns.in(func() error { // /proc/thread-self, as /proc/sys follows the opener's namespace
		return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	})
}

// listen makes sockets in the namespace.
func (ns *namespace) listen(n Network, port uint16, mark uint32) Sockets {
	ns.t.Helper()
	var s Sockets
	ns.in(func() (err error) {
		s, err = n.Listen(port, mark)
		return err
	})
	ns.t.Cleanup(func() { s.Close() })
	return s
}

// twoHosts are two namespaces joined by two veth pairs, v and w:
//
//	a: v0 10.1.0.1/24 fd01::1/64, w0 10.2.0.1/24 fd02::1/64
//	b: v0 10.1.0.2/24 fd01::2/64 and 10.1.0.3 fd01::3, w0 10.2.0.2/24 fd02::2/64,
//	   lo 10.9.9.9 fd99::9
func twoHosts(t testing.TB) (a, b *namespace) {
	a, b = newNamespace(t), newNamespace(t)
	for _, v := range []string{"v0", "w0"} {
		a.ip(fmt.Sprintf("link add %s type veth peer name %s netns %s", v, v, b.path))
	}
	a.ip(`addr add 10.1.0.1/24 dev v0
		addr add fd01::1/64 dev v0 nodad
		addr add 10.2.0.1/24 dev w0
		addr add fd02::1/64 dev w0 nodad`)
	b.ip(`addr add 10.1.0.2/24 dev v0
		addr add 10.1.0.3/24 dev v0
		addr add fd01::2/64 dev v0 nodad
		addr add fd01::3/64 dev v0 nodad
		addr add 10.2.0.2/24 dev w0
		addr add fd02::2/64 dev w0 nodad
		addr add 10.9.9.9/32 dev lo
		addr add fd99::9/128 dev lo nodad
		link set lo up`)
	for _, ns := range []*namespace{a, b} {
		ns.sysctl("net/ipv6/conf/v0/accept_dad", "0")
		ns.sysctl("net/ipv6/conf/w0/accept_dad", "0")
		ns.sysctl("net/ipv6/conf/v0/addr_gen_mode", "0")
		ns.ip(`link set v0 up
			link set w0 up`)
	}
	return a, b
}

func addrPort(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// mustSend sends one run and expects no error.
func mustSend(t testing.TB, s Sockets, r Run) Run {
	t.Helper()
	runs := []Run{r}
	if s.Send(runs); runs[0].Err != nil {
		t.Fatalf("send to %v: %v", r.To.Remote, runs[0].Err)
	}
	return runs[0]
}

func eachNetwork(t *testing.T, f func(t *testing.T, n Network)) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) { f(t, n.net) })
	}
}

// Whichever address of a host is asked answers; through GRO, too.
func TestAnswersFromAddressAsked(t *testing.T) {
	eachNetwork(t, func(t *testing.T, n Network) {
		a, b := twoHosts(t)
		sa, sb := a.listen(n, 0, 0), b.listen(n, 0, 0)
		batch := NewBatch(16)
		for _, addr := range []string{"10.1.0.3", "10.1.0.2", "fd01::3", "fd01::2", "10.2.0.2"} {
			to := addrPort(addr, sb.Port())
			f := familyOf(to.Addr())
			want := payload(20_500)
			mustSend(t, sa, Run{Data: want, Segment: 1000, To: &Endpoint{Remote: to}})
			got, m := collect(t, receiver(t, sb, f), batch, len(want))
			if !bytes.Equal(got, want) || m.Local != to.Addr() || m.Segment != 1000 {
				t.Fatalf("%s: local %v, segment %d, same data %v", addr, m.Local, m.Segment, bytes.Equal(got, want))
			}
			if r := mustSend(t, sb, Run{Data: want, Segment: 1000, To: m.Endpoint()}); r.SourceLost {
				t.Errorf("%s: source lost", addr)
			}
			got, m = collect(t, receiver(t, sa, f), batch, len(want))
			if !bytes.Equal(got, want) || m.Remote != to {
				t.Errorf("%s was answered from %v", addr, m.Remote)
			}
		}
	})
}

func TestTOS(t *testing.T) {
	a, b := twoHosts(t)
	sa, sb := a.listen(System(Options{}), 0, 0), b.listen(System(Options{}), 0, 0)
	batch := NewBatch(16)
	for _, addr := range []string{"10.1.0.2", "fd01::2"} {
		to := &Endpoint{Remote: addrPort(addr, sb.Port())}
		r := receiver(t, sb, familyOf(to.Remote.Addr()))
		for _, tos := range []byte{0, 1, 2, 3, 0x88, 0xfe} {
			mustSend(t, sa, Run{Data: payload(3000), Segment: 1000, To: to, TOS: tos})
			if _, m := collect(t, r, batch, 3000); m.TOS != tos {
				t.Errorf("%s: TOS %#x arrived as %#x", addr, tos, m.TOS)
			}
		}
	}
}

// A datagram to a link-local address needs its zone, by name or by number; the
// zone of what comes in is a number.
func TestLinkLocal(t *testing.T) {
	eachNetwork(t, func(t *testing.T, n Network) {
		a, b := twoHosts(t)
		b.ip("addr add fe80::b/64 dev v0 nodad")
		a.ip("addr add fe80::a/64 dev v0 nodad")
		sa, sb := a.listen(n, 0, 0), b.listen(n, 0, 0)
		batch := NewBatch(4)
		index := 0
		a.in(func() error {
			out, err := exec.Command("ip", "-o", "link", "show", "v0").Output()
			fmt.Sscan(string(out), &index)
			return err
		})
		zones := []string{fmt.Sprint(index)}
		if _, ok := n.(*linuxNetwork); ok {
			zones = append(zones, "v0") // package net asks the wrong namespace
		}
		for _, zone := range zones {
			to := netip.AddrPortFrom(netip.MustParseAddr("fe80::b").WithZone(zone), sb.Port())
			mustSend(t, sa, Run{Data: []byte("hello"), Segment: 5, To: &Endpoint{Remote: to}})
			_, m := collect(t, receiver(t, sb, ipv6), batch, 5)
			if m.Remote.Addr().WithZone("") != netip.MustParseAddr("fe80::a") || m.Remote.Addr().Zone() != fmt.Sprint(m.IfIndex) {
				t.Fatalf("zone %s: from %v, interface %d", zone, m.Remote, m.IfIndex)
			}
			if r := mustSend(t, sb, Run{Data: []byte("answer"), Segment: 6, To: m.Endpoint()}); r.SourceLost {
				t.Error("source lost")
			}
			if _, m := collect(t, receiver(t, sa, ipv6), batch, 6); m.Remote.Addr().WithZone("") != to.Addr().WithZone("") {
				t.Errorf("answer from %v", m.Remote)
			}
		}
	})
}

// A path whose MTU is smaller than the segments makes GSO fail; the
// datagrams go fragmented, and other destinations keep GSO.
func TestSmallMTU(t *testing.T) {
	a, b := twoHosts(t)
	a.ip(`route add 10.9.9.9/32 via 10.1.0.2 mtu 1300
		route add fd99::9/128 via fd01::2 mtu 1300`)
	b.ip("link set v0 mtu 1500")
	sa, sb := a.listen(System(Options{}), 0, 0), b.listen(System(Options{}), 0, 0)
	st := func() Stats { return sa.(interface{ Stats() Stats }).Stats() }
	if !st().GSO {
		t.Skip("no UDP GSO here")
	}
	batch := NewBatch(16)
	want := payload(14_000 + 3)
	for i, addr := range []string{"10.9.9.9", "fd99::9"} {
		to := &Endpoint{Remote: addrPort(addr, sb.Port())}
		r := receiver(t, sb, familyOf(to.Remote.Addr()))
		round := func() bool {
			before := st().GSOFallbacks
			for range 3 {
				mustSend(t, sa, Run{Data: want, Segment: 1400, To: to})
				if got, _ := collect(t, r, batch, len(want)); !bytes.Equal(got, want) {
					t.Fatal("data differs")
				}
			}
			s := st()
			return s.GSO && s.NoGSODestinations > 0 && s.GSOFallbacks-before <= 1
		}
		good := round()
		for try := 1; !good && try < 10; try++ { // IPv6 announced something late, and GSO had another chance
			good = round()
		}
		if !good || st().GSOFallbacks < uint64(i+1) {
			t.Errorf("%s: %+v", addr, st())
		}
		other := &Endpoint{Remote: addrPort([]string{"10.1.0.2", "fd01::2"}[i], sb.Port())}
		calls := st().SendCalls
		mustSend(t, sa, Run{Data: want, Segment: 1400, To: other})
		if got, _ := collect(t, r, batch, len(want)); !bytes.Equal(got, want) || st().SendCalls != calls+1 {
			t.Errorf("other destination: %d calls", st().SendCalls-calls)
		}
	}
}

// noSource sends until the sticky source is given up and tells how long it took.
func noSource(t *testing.T, s Sockets, e *Endpoint) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if mustSend(t, s, Run{Data: []byte("x"), To: e}).SourceLost {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the source was never given up")
		}
	}
	return time.Since(start)
}

// A better route, a removed route and a removed address take effect, for
// both families, and an unrelated change does not cost the source.
func TestRouteChanges(t *testing.T) {
	for _, tc := range []struct{ name, change4, change6 string }{
		{"better route", "route add 10.1.0.1/32 via 10.2.0.1", "route add fd01::1/128 via fd02::1"},
		{"address removed", "addr del 10.9.9.9/32 dev lo", "addr del fd99::9/128 dev lo"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := twoHosts(t)
			a.ip(`route add 10.9.9.9/32 via 10.1.0.2
				route add fd99::9/128 via fd01::2`)
			sa, sb := a.listen(System(Options{}), 0, 0), b.listen(System(Options{}), 0, 0)
			batch := NewBatch(4)
			for addr, change := range map[string]string{"10.9.9.9": tc.change4, "fd99::9": tc.change6} {
				to := addrPort(addr, sb.Port())
				mustSend(t, sa, Run{Data: []byte("hello"), To: &Endpoint{Remote: to}})
				_, m := collect(t, receiver(t, sb, familyOf(to.Addr())), batch, 5)
				e := m.Endpoint()
				if e.Local != to.Addr() || mustSend(t, sb, Run{Data: []byte("x"), To: e}).SourceLost {
					t.Fatalf("source %v not usable", e.Local)
				}
				routes := sb.(*linuxSockets).routes
				before := routes.generation()
				b.ip("route add 10.77.0.0/16 via 10.2.0.1")
				for tick := time.NewTicker(time.Millisecond); routes.generation() == before; {
					<-tick.C // nothing to assert: it must happen
				}
				if mustSend(t, sb, Run{Data: []byte("x"), To: e}).SourceLost {
					t.Error("an unrelated route cost the source")
				}
				b.ip("route del 10.77.0.0/16")
				b.ip(change)
				t.Logf("%s: took effect after %v", addr, noSource(t, sb, e))

				// An endpoint learned anew and lost anew asks the kernel once.
				checks := routes.counters.routeChecks.Load()
				for range 10 {
					if again := m.Endpoint(); !mustSend(t, sb, Run{Data: []byte("x"), To: again}).SourceLost {
						t.Error("the source came back")
					}
				}
				if n := routes.counters.routeChecks.Load() - checks; n > 1 {
					t.Errorf("%d look-ups for one lost source", n)
				}
			}
		})
	}
}

func TestMark(t *testing.T) {
	a, b := twoHosts(t)
	a.ip(`rule add fwmark 5 unreachable
		-6 rule add fwmark 5 unreachable`)
	eachNetwork(t, func(t *testing.T, n Network) {
		sa, sb := a.listen(n, 0, 5), b.listen(n, 0, 0)
		for _, addr := range []string{"10.1.0.2", "fd01::2"} {
			runs := []Run{{Data: []byte("x"), To: &Endpoint{Remote: addrPort(addr, sb.Port())}}}
			for _, mark := range []uint32{5, 0, 5} {
				if err := sa.SetMark(mark); err != nil {
					t.Fatal(err)
				}
				sa.Send(runs)
				if unreachable := errors.Is(runs[0].Err, unix.EHOSTUNREACH) || errors.Is(runs[0].Err, unix.ENETUNREACH); unreachable != (mark == 5) {
					t.Errorf("%s mark %d: %v", addr, mark, runs[0].Err)
				}
			}
		}
	})
	s := a.listen(System(Options{}), 0, 5).(*linuxSockets)
	runs := []Run{{Data: []byte("x"), To: &Endpoint{Remote: addrPort("10.1.0.2", 9)}}}
	if s.Send(runs); runs[0].Err == nil {
		t.Error("the mark given to Listen was not set")
	}
}

func TestIPv6Disabled(t *testing.T) {
	eachNetwork(t, func(t *testing.T, n Network) {
		ns := newNamespace(t)
		ns.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
		s := ns.listen(n, 51820, 0)
		if s.Port() != 51820 {
			t.Errorf("port %d", s.Port())
		}
		to := &Endpoint{Remote: loopback(ipv4, s.Port())}
		mustSend(t, s, Run{Data: []byte("hello"), To: to})
		if got, _ := collect(t, s.Receivers()[0], NewBatch(1), 5); string(got) != "hello" {
			t.Errorf("got %q", got)
		}
	})
}

// An IPv6 datagram goes where it should though the same memory held an IPv4
// address before, and the other way round.
func TestFamiliesMixed(t *testing.T) {
	eachNetwork(t, func(t *testing.T, n Network) {
		ns := newNamespace(t)
		s := ns.listen(n, 0, 0)
		to4, to6 := &Endpoint{Remote: loopback(ipv4, s.Port())}, &Endpoint{Remote: loopback(ipv6, s.Port())}
		batch := NewBatch(32)
		var runs []Run
		for i := range 10 {
			to := to4
			if i%2 == 1 {
				to = to6
			}
			runs = append(runs, Run{Data: []byte{byte('0' + i)}, To: to})
		}
		for range 3 {
			s.Send(runs)
			got4, _ := collect(t, receiver(t, s, ipv4), batch, 5)
			got6, _ := collect(t, receiver(t, s, ipv6), batch, 5)
			if string(got4) != "02468" || string(got6) != "13579" {
				t.Fatalf("got %q and %q", got4, got6)
			}
		}
	})
}
