package conn

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openFiles is the number of descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// withSpare calls f while the process may open so many descriptors more, and no
// others. It is for tests that run alone.
func withSpare(t *testing.T, spare int, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(openFiles(t) + 64 + spare), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	for _, fd := range taken[:spare] {
		unix.Close(fd)
	}
	f()
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	for _, fd := range taken[spare:] {
		unix.Close(fd)
	}
}

// Whichever of its system calls finds no descriptor, Listen fails with EMFILE and
// leaves nothing open, or gives sockets that work: without netlink, in between.
func TestListenWithoutDescriptors(t *testing.T) {
	for name, c := range map[string]struct {
		network   Network
		receivers []int // so many may there be
	}{
		"one queue":    {NewLinux(Options{}), []int{2, 1}},
		"three queues": {NewLinux(Options{Queues: 3}), []int{6, 3}},
		"split":        {NewLinux(Options{}).(Splitter).Split(mainTraffic), []int{2, 1, 6}},
	} {
		n := c.network
		if s, err := n.Listen(0, 0); err != nil { // what the runtime opens once is open now
			t.Fatal(err)
		} else {
			s.Close()
		}
		failed, blind := 0, 0
		for spare, whole := 0, false; !whole; spare++ {
			if spare > 200 {
				t.Fatal("200 descriptors are not enough")
			}
			before := openFiles(t)
			var s Sockets
			var err error
			withSpare(t, spare, func() { s, err = n.Listen(0, 0) })
			if err != nil {
				failed++
				if !errors.Is(err, unix.EMFILE) {
					t.Errorf("with %d descriptors: %v", spare, err)
				}
			} else {
				if whole = s.(*linuxSockets).Stats().RouteWatch; !whole {
					blind++
				}
				if got := len(s.Receivers()); !slices.Contains(c.receivers, got) {
					t.Errorf("%s with %d descriptors: %d receivers", name, spare, got)
				}
				to := &Endpoint{Remote: loopback(ipv4, s.Port())}
				runs := []Run{{Data: []byte("x"), To: to}}
				s.Send(runs)
				if runs[0].Err != nil {
					t.Errorf("with %d descriptors: %v", spare, runs[0].Err)
				}
				s.Close()
			}
			if after := openFiles(t); after != before {
				t.Fatalf("with %d descriptors: %d are open after it, %d before", spare, after, before)
			}
		}
		if failed < 4 || blind < 1 {
			t.Errorf("%s: failed with %d numbers of descriptors, without netlink with %d", name, failed, blind)
		}
	}
}

// What socket(2), setsockopt(2) of the mark, and bind(2) may say: a family that the
// system lacks is left out; anything else is nobody's fault that lasts, so the other
// family does not go on alone, and whoever called tries again.
func TestListenFaults(t *testing.T) {
	const lacking, again = true, false
	mustListen(t, NewLinux(Options{})).Close() // what the runtime opens once is open now
	for errno, missing := range map[unix.Errno]bool{
		unix.EAFNOSUPPORT: lacking, unix.EPFNOSUPPORT: lacking, unix.EPROTONOSUPPORT: lacking, unix.EADDRNOTAVAIL: lacking,
		unix.EMFILE: again, unix.ENFILE: again, unix.ENOBUFS: again, unix.ENOMEM: again, unix.EADDRINUSE: again,
		unix.EACCES: again, unix.EPERM: again, unix.EINVAL: again, unix.ENODEV: again, unix.EINTR: again,
	} {
		for _, families := range [][]family{{ipv4}, {ipv6}, {ipv4, ipv6}} {
			before := openFiles(t)
			fails := true
			sys := kernel
			sys.listen = func(f family, port uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
				if fails && slices.Contains(families, f) {
					return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("socket", errno)}
				}
				return listenUDP(f, port, setup)
			}
			s, err := (&linuxNetwork{sys: &sys}).Listen(0, 0)
			want := missing && len(families) == 1
			if (err == nil) != want || err != nil && !errors.Is(err, errno) {
				t.Errorf("%v for %v: %v", errno, families, err)
			}
			if err == nil {
				if p := s.(Partial); p.Lacks() {
					t.Errorf("%v for %v: the family is said to be there", errno, families)
				} else if fails = false; !p.Lacks() {
					t.Errorf("%v for %v: nobody notices that the family has come", errno, families)
				}
				to := map[family]*Endpoint{ipv4: peer1, ipv6: peer6}[families[0]]
				runs := []Run{{Data: []byte("x"), To: to}}
				if s.Send(runs); len(s.Receivers()) != 1 || runs[0].Err != ErrNoFamily {
					t.Errorf("%v for %v: %d receivers, %v", errno, families, len(s.Receivers()), runs[0].Err)
				}
				s.Close()
			}
			if after := openFiles(t); after != before {
				t.Fatalf("%v for %v: %d descriptors more than before", errno, families, after-before)
			}
		}
	}
}
