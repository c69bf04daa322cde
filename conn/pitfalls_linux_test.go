package conn

import (
	"testing"

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
