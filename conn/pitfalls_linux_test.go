package conn

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What we send may be fragmented on its way: as with the kernel's WireGuard, DF
// is not set, whatever the system's default, and no learned path MTU applies.
func TestDatagramsMayBeFragmented(t *testing.T) {
	s, err := System(Options{}).Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ls := s.(*linuxSockets)
	for _, c := range []struct {
		sock                *linuxSocket
		level, option, want int
	}{
		{ls.v4, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT},
		{ls.v6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT},
	} {
		if c.sock == nil {
			continue // the machine lacks the family
		}
		err := c.sock.raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), c.level, c.option); err != nil || got != c.want {
				t.Errorf("%v: path MTU discovery is %d, %v; want %d", c.sock.family, got, err, c.want)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Each kind of change makes sources be looked at again, in either family and by
// itself: no other change covers up for it.
func TestEveryRouteChangeIsSeen(t *testing.T) {
	ns := newNamespace(t)
	ns.ip("link add v0 type veth peer name v1")
	for name, value := range map[string]string{ // else IPv6 has things to tell by itself, seconds later
		"v0/accept_dad": "0", "v0/addr_gen_mode": "1", "v0/router_solicitations": "0", "v1/disable_ipv6": "1",
	} {
		ns.sysctl("net/ipv6/conf/"+name, value)
	}
	ns.ip(`addr add 10.1.0.1/24 dev v0
		addr add fd01::1/64 dev v0 nodad
		link set v1 up
		link set v0 up`)
	routes := ns.listen(System(Options{}), 0, 0).(*linuxSockets).routes
	if !routes.watching.Load() {
		t.Skip("no netlink")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	another := func(than uint32, limit time.Duration) bool {
		for until := time.Now().Add(limit); time.Now().Before(until); <-tick.C {
			if routes.generation() != than {
				return true
			}
		}
		return false
	}
	for _, change := range []string{
		"route add 10.2.0.0/16 via 10.1.0.2", "-6 route add fd02::/64 via fd01::2",
		"rule add fwmark 5 table 5", "-6 rule add fwmark 5 table 5", "link set v0 alias x",
	} {
		for another(routes.generation(), 2*routeSettle) { // what comes of the set-up and of the last change
		}
		before := routes.generation()
		ns.ip(change)
		if !another(before, 5*time.Second) {
			t.Errorf("%s: not seen", change)
		}
	}
}
