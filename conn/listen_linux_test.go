package conn

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// With port 0 a port that is taken in IPv6 is given back and another one
// tried, 100 times.
func TestPortFreeInBothFamilies(t *testing.T) {
	for _, tc := range []struct {
		taken int // of the ports tried
		ok    bool
	}{{0, true}, {1, true}, {portTries - 1, true}, {portTries, false}} {
		tries, open := 0, 0
		openFake := func(f family, port uint16) (uint16, error) {
			if f == ipv4 {
				open++
				return 1000 + uint16(open), nil
			}
			if tries++; tries <= tc.taken {
				return 0, unix.EADDRINUSE
			}
			open++
			return port, nil
		}
		closeFake := func(uint16) error { open--; return nil }
		v4, v6, err := listenPair(openFake, closeFake, func(p uint16) uint16 { return p }, 0)
		if tc.ok && (err != nil || v4 != v6 || v4 == 0 || open != 2) {
			t.Errorf("%d taken: ports %d and %d, %d open, %v", tc.taken, v4, v6, open, err)
		}
		if !tc.ok && (!errors.Is(err, unix.EADDRINUSE) || open != 0) {
			t.Errorf("%d taken: %d open, %v", tc.taken, open, err)
		}
	}
}

// A port that is taken in one family only is an error, and the other
// family's socket is closed again.
func TestPortTakenInOneFamily(t *testing.T) {
	for _, taken := range []family{ipv4, ipv6} {
		nothing := func(syscall.RawConn) error { return nil }
		there, err := listenUDP(taken, 0, nothing)
		if err != nil {
			t.Skip(err)
		}
		port := there.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if _, err := System(Options{}).Listen(port, 0); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%v taken: %v", taken, err)
		}
		there.Close()
		s, err := System(Options{}).Listen(port, 0)
		if err != nil {
			t.Errorf("a socket was left behind: %v", err)
			continue
		}
		if s.Port() != port || len(s.Receivers()) != 2 {
			t.Errorf("port %d, %d receivers", s.Port(), len(s.Receivers()))
		}
		s.Close()
	}
}

// Without either family there is an error and nothing else.
func TestNoFamily(t *testing.T) {
	sys := kernel
	sys.listen = func(family, uint16, func(syscall.RawConn) error) (*net.UDPConn, error) {
		return nil, unix.EAFNOSUPPORT
	}
	if s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0); !errors.Is(err, unix.EAFNOSUPPORT) || s != nil {
		t.Errorf("%v, %v", s, err)
	}
}

// A family is lacking only when its socket could be had on the same port: else what
// there is would be closed for nothing.
func TestLacksOnlyWhatIsFree(t *testing.T) {
	for _, missing := range []family{ipv4, ipv6} {
		sys := kernel
		sys.listen = refuseFamily(missing, unix.EAFNOSUPPORT)
		s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.(Partial).Lacks() {
			t.Errorf("%v is lacking, which the system does not have", missing)
		}
		s.(*linuxSockets).listen = listenUDP // it has come
		if !s.(Partial).Lacks() {
			t.Errorf("%v is not lacking", missing)
		}
		other, err := listenUDP(missing, s.Port(), func(syscall.RawConn) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if s.(Partial).Lacks() {
			t.Errorf("%v is lacking, though its port is taken", missing)
		}
		other.Close()
	}
}
