package tun_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/tun"

	"golang.org/x/sys/unix"
)

func create(t *testing.T, n *netns, opts tun.Options) tun.Device {
	t.Helper()
	var d tun.Device
	n.do(t, func() (err error) {
		d, err = tun.Create("cv%d", 1420, opts)
		return err
	})
	t.Cleanup(func() { d.Close() })
	return d
}

func TestLinkEvents(t *testing.T) {
	n := newNetns(t)
	d := create(t, n, tun.Options{})
	name := d.Name()
	if d.MTU() != 1420 {
		t.Errorf("MTU %d", d.MTU())
	}
	wantEvent(t, d, down)
	n.ip(t, "link set "+name+" up")
	wantEvent(t, d, up)
	n.ip(t, "link set "+name+" mtu 1280")
	wantEvent(t, d, mtu(1280))
	if d.MTU() != 1280 {
		t.Errorf("MTU %d, want 1280", d.MTU())
	}
	n.ip(t, "link set "+name+" txqueuelen 600") // nothing to tell
	n.ip(t, "link set "+name+" down")
	wantEvent(t, d, down)
	n.ip(t, "link set "+name+" name renamed0")
	n.ip(t, "link set renamed0 up")
	wantEvent(t, d, up)
	if d.Name() != "renamed0" {
		t.Errorf("name %q, want renamed0", d.Name())
	}
	n.ip(t, "link del renamed0")
	wantEvent(t, d, down) // the kernel sets it down first
	wantEvent(t, d, deleted)
	var p tun.Packet
	if err := d.Readers()[0].Read(&p); !errors.Is(err, tun.ErrDeleted) {
		t.Errorf("Read after deletion: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if e, ok := <-d.Events(); ok {
		t.Errorf("event %+v after the deletion", e)
	}
}

// The interface is made in one namespace and moved; the process stays.
func TestMove(t *testing.T) {
	a, b, c := newNetns(t), newNetns(t), newNetns(t)
	d := create(t, a, tun.Options{})
	a.ip(t, "link set "+d.Name()+" netns "+b.path) // at once
	wantEvent(t, d, down)
	b.ip(t, "link set "+d.Name()+" name inner0")
	b.ip(t, "link set inner0 up")
	wantEvent(t, d, up)
	if d.Name() != "inner0" {
		t.Errorf("name %q, want inner0", d.Name())
	}
	b.ip(t, "link set inner0 mtu 1300")
	wantEvent(t, d, mtu(1300))
	// A move while it is up sets it down.
	b.ip(t, "link set inner0 netns "+c.path)
	wantEvent(t, d, down)
	c.ip(t, "link set inner0 up")
	wantEvent(t, d, up)
	c.ip(t, "link set inner0 netns "+a.path)
	wantEvent(t, d, down)
	a.ip(t, "link set inner0 mtu 1400")
	wantEvent(t, d, mtu(1400))

	ended := make(chan error, 1)
	go func() { // ends with the interface
		var p tun.Packet
		for { // whoever sets it up right after a move may get a link-local address
			if err := d.Readers()[0].Read(&p); err != nil {
				ended <- err
				return
			}
		}
	}()
	a.ip(t, "link del inner0")
	wantEvent(t, d, deleted)
	select {
	case err := <-ended:
		if !errors.Is(err, tun.ErrDeleted) {
			t.Errorf("Read ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Read does not end")
	}
}

// The index it had in the first namespace belongs to another in the second.
func TestMoveChangesIndex(t *testing.T) {
	a, b := newNetns(t), newNetns(t)
	b.ip(t, "link add name other0 type veth peer name other1") // indices 2 and 3
	d := create(t, a, tun.Options{})                           // index 2
	wantEvent(t, d, down)
	a.ip(t, "link set "+d.Name()+" netns "+b.path)
	for _, other := range []string{"other0", "other1"} {
		b.ip(t, "link set "+other+" up")
		b.ip(t, "link set "+other+" mtu 1000")
	}
	b.ip(t, "link set "+d.Name()+" mtu 1290")
	wantEvent(t, d, mtu(1290))
	b.ip(t, "link del other0")
	b.ip(t, "link set "+d.Name()+" up")
	wantEvent(t, d, up)
}

// A namespace that ends takes its interfaces with it: we do not keep it.
func TestNamespaceEnds(t *testing.T) {
	a, b := newNetns(t), newNetns(t)
	d := create(t, a, tun.Options{})
	wantEvent(t, d, down)
	a.ip(t, "link set "+d.Name()+" netns "+b.path)
	b.ip(t, "link set "+d.Name()+" mtu 1290")
	wantEvent(t, d, mtu(1290))
	b.end()
	wantEvent(t, d, deleted)
}

// Without rtnetlink: slower, and the MTU stays what it was.
func TestPolling(t *testing.T) {
	n := newNetns(t)
	var d tun.Device
	n.do(t, func() (err error) {
		d, err = tun.CreatePolling("cv%d", 1420)
		return err
	})
	defer d.Close()
	wantEvent(t, d, down)
	n.ip(t, "link set "+d.Name()+" up")
	wantEvent(t, d, up)
	n.ip(t, "link set "+d.Name()+" down")
	wantEvent(t, d, down)
	if d.MTU() != 1420 {
		t.Errorf("MTU %d", d.MTU())
	}
	n.ip(t, "link del "+d.Name())
	wantEvent(t, d, deleted)
}

// As with the kernel's WireGuard: no multicast, no IPv6 link-local address,
// and with that nothing sent that nobody asked for.
func TestInterfaceIsQuiet(t *testing.T) {
	n := newNetns(t)
	d := create(t, n, tun.Options{})
	wantEvent(t, d, down)
	n.ip(t, "link set "+d.Name()+" up")
	wantEvent(t, d, up)
	out := n.ip(t, "-d addr show dev "+d.Name())
	for _, bad := range []string{"MULTICAST", "inet6"} {
		if strings.Contains(out, bad) {
			t.Errorf("%s in %s", bad, out)
		}
	}
	for _, good := range []string{"addrgenmode none", "qlen 1000"} {
		if !strings.Contains(n.ip(t, "-d link show dev "+d.Name()), good) {
			t.Errorf("no %q in %s", good, out)
		}
	}
	n.do(t, func() error {
		for _, which := range []string{"all", d.Name()} {
			b, err := os.ReadFile("/proc/thread-self/net/../../../../sys/net/ipv4/conf/" + which + "/send_redirects")
			if err != nil {
				return err
			}
			if string(b) != "0\n" {
				t.Errorf("send_redirects of %s is %q", which, b)
			}
		}
		return nil
	})
	var p tun.Packet
	if ok, err := d.Readers()[0].TryRead(&p); ok || err != nil {
		t.Errorf("TryRead: %v %v: %x", ok, err, p.Bytes())
	}
}

func TestWriteWhileDown(t *testing.T) {
	d := create(t, newNetns(t), tun.Options{})
	n, err := d.Write(withHeadroom(stream(3, 100)), tun.Headroom)
	if n != 0 || !errors.Is(err, unix.EIO) {
		t.Errorf("took %d, %v; want EIO", n, err)
	}
	if s := d.(tun.StatsSource).Stats(); s.WriteErrors != 3 || !s.MergeTCP4 {
		t.Errorf("stats %+v", s)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	n := newNetns(t)
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	create(t, n, tun.Options{}).Close() // the runtime's poller and such are there from now on
	before, goroutines := fds(), runtime.NumGoroutine()
	d := create(t, n, tun.Options{})
	name := d.Name()
	ended := make(chan error, 1)
	go func() { // ends with Close
		var p tun.Packet
		ended <- d.Readers()[0].Read(&p)
	}()
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read ended with %v", err)
	}
	var p tun.Packet
	if _, err := d.Readers()[0].TryRead(&p); !errors.Is(err, os.ErrClosed) {
		t.Errorf("TryRead after Close: %v", err)
	}
	if _, err := d.Write(withHeadroom(stream(1, 10)), tun.Headroom); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	for range d.Events() { // closed
	}
	if out := n.ip(t, "link show"); strings.Contains(out, name) {
		t.Errorf("%s is still there: %s", name, out)
	}
	if after := fds(); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
}

// open makes a TUN as another program would that hands it to us.
func open(t *testing.T, n *netns, name string, flags uint16) *os.File {
	t.Helper()
	var f *os.File
	n.do(t, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "inherited")
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(flags)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	})
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFromFile(t *testing.T) {
	a, b := newNetns(t), newNetns(t)
	for _, flags := range []uint16{
		unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR,
		unix.IFF_TUN | unix.IFF_NO_PI,
	} {
		f := open(t, a, "inherit0", flags)
		if flags&unix.IFF_VNET_HDR != 0 {
			if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TUNSETVNETHDRSZ, 12); err != nil {
				t.Fatal(err)
			}
		}
		a.ip(t, "link set inherit0 netns "+b.path)
		d, err := tun.FromFile(f, 1390, tun.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d.Name() != "inherit0" || d.MTU() != 1390 {
			t.Errorf("%s with MTU %d", d.Name(), d.MTU())
		}
		wantEvent(t, d, down)
		b.ip(t, "addr add 10.1.0.1/24 dev inherit0")
		b.ip(t, "link set inherit0 up")
		wantEvent(t, d, up)
		exchangePing(t, b, d)
		s := d.(tun.StatsSource).Stats()
		if vnet := flags&unix.IFF_VNET_HDR != 0; s.ReadTSO != vnet || s.MergeTCP4 != vnet {
			t.Errorf("flags %#x: %+v", flags, s)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Only a TUN is taken. What is refused is closed, and is else as it was: whether it
// blocks is shared with others who have it open.
func TestFromFileRefuses(t *testing.T) {
	n := newNetns(t)
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	var pipe, sockets [2]int
	if err := errors.Join(unix.Pipe2(pipe[:], unix.O_CLOEXEC), pairOf(&sockets)); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]*os.File{
		"/dev/zero": zero,
		"a TAP":     open(t, n, "tap0", unix.IFF_TAP|unix.IFF_NO_PI),
		"a pipe":    os.NewFile(uintptr(pipe[0]), "pipe"),
		"its end":   os.NewFile(uintptr(pipe[1]), "pipe"),
		"a socket":  os.NewFile(uintptr(sockets[0]), "socket"),
		"another":   os.NewFile(uintptr(sockets[1]), "socket"),
		"no file":   os.NewFile(1<<20, "closed"),
	} {
		shared := -1
		if raw, err := f.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { shared, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		}
		before, _ := unix.FcntlInt(uintptr(shared), unix.F_GETFL, 0)
		if d, err := tun.FromFile(f, 1400, tun.Options{}); err == nil {
			d.Close()
			t.Errorf("%s: %s accepted", what, d.Name())
		} else if !strings.HasPrefix(err.Error(), "tun: ") {
			t.Errorf("%s: error %q", what, err)
		}
		if after, _ := unix.FcntlInt(uintptr(shared), unix.F_GETFL, 0); after != before && what != "a TAP" {
			t.Errorf("%s: flags %#x are %#x now", what, before, after)
		}
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is still open: %v", what, err)
		}
		if shared >= 0 {
			unix.Close(shared)
		}
	}
}

func pairOf(fds *[2]int) (err error) {
	*fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return err
}

func TestCreateRefuses(t *testing.T) {
	n := newNetns(t)
	taken := create(t, n, tun.Options{})
	for _, name := range []string{taken.Name(), "much-too-long-a-name"} {
		n.do(t, func() error {
			d, err := tun.Create(name, 1420, tun.Options{})
			if err == nil {
				d.Close()
				t.Errorf("%q made twice", name)
			} else if !strings.Contains(err.Error(), name) {
				t.Errorf("error %q does not name the interface", err)
			}
			return nil
		})
	}
}

func TestOptions(t *testing.T) {
	n := newNetns(t)
	all := tun.Stats{ReadTSO: true, ReadUSO: true, MergeTCP4: true, MergeTCP6: true, MergeUDP4: true, MergeUDP6: true}
	if s := create(t, n, tun.Options{}).(tun.StatsSource).Stats(); !s.ReadUSO {
		t.Skip("needs a kernel with USO (6.2)")
	} else if s != all {
		t.Errorf("stats %+v", s)
	}
	for _, c := range []struct {
		opts tun.Options
		want tun.Stats
	}{
		{tun.Options{NoTSO: true}, tun.Stats{ReadUSO: true, MergeUDP4: true, MergeUDP6: true}},
		{tun.Options{NoUSO: true}, tun.Stats{ReadTSO: true, MergeTCP4: true, MergeTCP6: true}},
		{tun.Options{NoGRO: true}, tun.Stats{ReadTSO: true, ReadUSO: true}},
		{tun.Options{NoTSO: true, NoUSO: true, NoGRO: true}, tun.Stats{}},
	} {
		if s := create(t, n, c.opts).(tun.StatsSource).Stats(); s != c.want {
			t.Errorf("%+v: %+v", c.opts, s)
		}
	}
}

// A refused super-packet goes as single packets, and that kind is not tried
// again. The file is a socket that is too small for a super-packet. Single packets wait
// for room in it, as a TUN never does, so they are no raw calls: the runtime has to know that
// they block, or it would not let the one who makes room run.
func TestGovernor(t *testing.T) {
	d, kernel := onSocket(t, 4096, unix.SOCK_CLOEXEC)
	tun.SetKernel(d, tun.Kernel{Write: func(fd int, b []byte) (int, unix.Errno) {
		n, err := unix.Write(fd, b)
		errno, _ := err.(unix.Errno)
		return n, errno
	}})
	packets := stream(10, 1000)
	for round := range 2 {
		result := make(chan error, 1)
		go func() { // ends when all was received
			n, err := d.Write(withHeadroom(packets), tun.Headroom)
			if n != len(packets) {
				err = fmt.Errorf("took %d, %w", n, err)
			}
			result <- err
		}()
		for i, want := range packets {
			if got := receive(t, kernel); !slices.Equal(got, append(make([]byte, tun.VirtioLen), want...)) {
				t.Fatalf("round %d: packet %d came as %x", round, i, got[:60])
			}
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
	s := d.(tun.StatsSource).Stats()
	if s.Refused != 1 || s.MergeTCP4 || !s.MergeTCP6 || !s.MergeUDP4 || s.Merged != 0 {
		t.Errorf("stats %+v", s)
	}
}
