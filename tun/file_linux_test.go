package tun_test

import (
	"os"
	"testing"

	"culvert/tun"
	"culvert/tun/tuntest"

	"golang.org/x/sys/unix"
)

// onSocket is a device whose kernel side is a socket in the test's hands, so
// that every write is seen as it was made. send is the socket's buffer.
// flags are the socket's.
func onSocket(t testing.TB, send, flags int) (tun.Device, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, send); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	d := tun.OnFile(f, true)
	// Also the device's: what is left to the garbage collector it closes while another test counts.
	t.Cleanup(func() { tun.CloseFile(d); f.Close(); unix.Close(fds[1]) })
	return d, fds[1]
}

var received [1 << 17]byte

// receive gives what one write wrote.
func receive(t testing.TB, fd int) []byte {
	t.Helper()
	n, err := unix.Read(fd, received[:])
	if err != nil {
		t.Fatal(err)
	}
	return received[:n]
}

// One write per super-packet, single packets with an empty header.
func TestWrites(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	packets := append(stream(3, 1000), tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, []byte("x")))
	n, err := d.Write(withHeadroom(packets), tun.Headroom)
	if n != 4 || err != nil {
		t.Fatalf("took %d, %v", n, err)
	}
	compare(t, splitAll(t, mustVirtio(t, receive(t, kernel))), packets[:3])
	compare(t, [][]byte{receive(t, kernel)}, [][]byte{append(make([]byte, tun.VirtioLen), packets[3]...)})
	if _, err := unix.Read(kernel, received[:]); err != unix.EAGAIN {
		t.Error("more was written")
	}
	if s := d.(tun.StatsSource).Stats(); s.SuperWrites != 1 || s.Merged != 3 {
		t.Errorf("stats %+v", s)
	}
}

// More packets than the merger looks at together.
func TestWriteManyPackets(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	packets := stream(2*tun.MergeBatch+10, 10)
	if n, err := d.Write(withHeadroom(packets), tun.Headroom); n != len(packets) || err != nil {
		t.Fatalf("took %d, %v", n, err)
	}
	var got [][]byte
	for len(got) < len(packets) {
		got = append(got, splitAll(t, mustVirtio(t, receive(t, kernel)))...)
	}
	compare(t, got, packets)
}

// One packet that fails does not keep the others from being written.
func TestWriteGoesOnAfterAnError(t *testing.T) {
	d, kernel := onSocket(t, 4096, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, pattern(100))
	huge := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, pattern(60000))
	n, err := d.Write(withHeadroom([][]byte{ping, huge, ping}), tun.Headroom)
	if n != 2 || err != unix.EMSGSIZE {
		t.Errorf("took %d, %v; want 2 and EMSGSIZE", n, err)
	}
	for range 2 {
		if got := receive(t, kernel); len(got) != len(ping)+tun.VirtioLen {
			t.Errorf("%d bytes came", len(got))
		}
	}
	if s := d.(tun.StatsSource).Stats(); s.WriteErrors != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestMalformedIsSkippedAndCounted(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil)
	for _, b := range [][]byte{
		make([]byte, 5),
		make([]byte, 100),
		append(make([]byte, tun.VirtioLen), ping...),
	} {
		if _, err := unix.Write(kernel, b); err != nil {
			t.Fatal(err)
		}
	}
	var p tun.Packet
	if err := d.Readers()[0].Read(&p); err != nil {
		t.Fatal(err)
	}
	compare(t, splitAll(t, &p), [][]byte{ping})
	if s := d.(tun.StatsSource).Stats(); s.Malformed != 2 {
		t.Errorf("stats %+v", s)
	}
	if ok, err := d.Readers()[0].TryRead(&p); ok || err != nil {
		t.Errorf("TryRead of nothing: %v, %v", ok, err)
	}
}

// Reading and writing allocate nothing, whatever the packets.
func TestNoAllocations(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	packets := append(stream(20, 1300),
		tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil),
		tuntest.UDP(a6, b6, pattern(100)), tuntest.UDP(a6, b6, pattern(100)), tuntest.UDP(a6, b6, pattern(10)))
	bufs := withHeadroom(packets)
	work := make([][]byte, len(bufs))
	for i := range work {
		work[i] = append([]byte{}, bufs[i]...)
	}
	super := tuntest.Super(tuntest.TCP(a4, b4, tuntest.TCPHeader{}, pattern(20000)), 1300, 0)
	dst := make([]byte, 2000)
	var p tun.Packet
	r := d.Readers()[0]
	allocations := testing.AllocsPerRun(100, func() {
		for i := range work {
			copy(work[i], bufs[i])
		}
		if n, err := d.Write(work, tun.Headroom); n != len(work) || err != nil {
			t.Fatalf("took %d, %v", n, err)
		}
		for range 3 {
			receive(t, kernel)
		}
		for range 2 {
			if _, err := unix.Write(kernel, super); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		if ok, err := r.TryRead(&p); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for i := range p.Segments() {
			p.CopySegment(i, dst)
		}
		if ok, err := r.TryRead(&p); ok || err != nil {
			t.Fatal(ok, err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
