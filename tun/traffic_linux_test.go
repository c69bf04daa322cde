package tun_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/tun"
	"culvert/tun/tuntest"

	"golang.org/x/sys/unix"
)

// exchangePing has the kernel answer a ping that comes through d.
func exchangePing(t *testing.T, n *netns, d tun.Device) {
	t.Helper()
	us, them := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	ping := tuntest.Ping(them, us, 7, 1, []byte("culvert"))
	if taken, err := d.Write(withHeadroom([][]byte{ping}), tun.Headroom); taken != 1 || err != nil {
		t.Fatalf("took %d, %v", taken, err)
	}
	var p tun.Packet
	if err := d.Readers()[0].Read(&p); err != nil {
		t.Fatal(err)
	}
	if got := p.Bytes(); len(got) != len(ping) || got[20] != 0 || !bytes.HasSuffix(got, []byte("culvert")) {
		t.Errorf("answer %x", got)
	}
}

// pump carries all packets from a to b, in batches, until a is closed.
func pump(t *testing.T, a, b tun.Device) {
	const batch = 128
	bufs := make([][]byte, batch)
	for i := range bufs {
		bufs[i] = make([]byte, tun.Headroom+2048)
	}
	r := a.Readers()[0]
	var p tun.Packet
	for {
		if err := r.Read(&p); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			return
		}
		var out [][]byte
		for ok := true; ok; {
			for i := range p.Segments() {
				if len(out) == batch {
					b.Write(out, tun.Headroom)
					out = out[:0]
				}
				buf := bufs[len(out)]
				n := p.CopySegment(i, buf[tun.Headroom:])
				out = append(out, buf[:tun.Headroom+n])
			}
			var err error
			if ok, err = r.TryRead(&p); err != nil {
				break
			}
		}
		b.Write(out, tun.Headroom)
	}
}

// joined are two namespaces whose TUN interfaces pass packets to one another.
// stop ends that, so that nothing is counted any more.
func joined(t *testing.T, opts tun.Options) (a, b *netns, da, db tun.Device, stop func()) {
	a, b = newNetns(t), newNetns(t)
	da, db = create(t, a, opts), create(t, b, opts)
	for i, n := range []*netns{a, b} {
		name := []tun.Device{da, db}[i].Name()
		n.ip(t, fmt.Sprintf("addr add 10.1.0.%d/24 dev %s", i+1, name))
		n.ip(t, fmt.Sprintf("addr add fd00::%d/64 dev %s nodad", i+1, name))
		n.ip(t, "link set "+name+" up")
		// The kernel makes an IPv6 address usable later, in a work queue.
		for address := fmt.Sprintf("fd00::%d", i+1); !strings.HasPrefix(n.ip(t, "-6 route show table local "+address), "local") ||
			strings.Contains(n.ip(t, "-6 addr show dev "+name), "tentative"); {
		}
	}
	done := make(chan struct{}, 2)
	go func() { pump(t, da, db); done <- struct{}{} }() // both end with Close
	go func() { pump(t, db, da); done <- struct{}{} }()
	stop = sync.OnceFunc(func() { da.Close(); db.Close(); <-done; <-done })
	t.Cleanup(stop)
	return a, b, da, db, stop
}

func TestTCPThroughKernel(t *testing.T) {
	for _, opts := range []tun.Options{{}, {NoTSO: true, NoUSO: true, NoGRO: true}, {NoGRO: true}} {
		a, b, da, db, stop := joined(t, opts)
		for _, address := range []string{"10.1.0.2:7000", "[fd00::2]:7000"} {
			transfer(t, a, b, address)
		}
		stop()
		sa, sb := da.(tun.StatsSource).Stats(), db.(tun.StatsSource).Stats()
		if supers := sa.SuperRead > 0; supers == opts.NoTSO {
			t.Errorf("%+v: sender %+v", opts, sa)
		}
		if merged := sb.SuperWrites > 0; merged == opts.NoGRO {
			t.Errorf("%+v: receiver %+v", opts, sb)
		}
		for _, s := range []tun.Stats{sa, sb} {
			if s.Malformed != 0 || s.WriteErrors != 0 || s.Refused != 0 {
				t.Errorf("%+v: %+v", opts, s)
			}
		}
	}
}

// transfer sends 8 MB from a to b over TCP.
func transfer(t *testing.T, a, b *netns, address string) {
	t.Helper()
	var listener net.Listener
	b.do(t, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	defer listener.Close()
	data := pattern(8 << 20)
	sums := make(chan [32]byte, 1)
	go func() { // ends with the connection, or with the listener
		defer close(sums)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		h := sha256.New()
		io.Copy(h, c)
		sums <- [32]byte(h.Sum(nil))
	}()
	var c net.Conn
	a.do(t, func() (err error) {
		c, err = net.DialTimeout("tcp", address, patience)
		return err
	})
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-sums; got != sha256.Sum256(data) {
		t.Errorf("%s: what came is not what was sent", address)
	}
}

// Datagrams sent as one UDP super-packet come out one by one.
func TestUDPThroughKernel(t *testing.T) {
	a, b, da, db, stop := joined(t, tun.Options{})
	if s := da.(tun.StatsSource).Stats(); !s.ReadUSO {
		t.Skip("needs a kernel with USO (6.2)")
	}
	for _, address := range []string{"10.1.0.2:7000", "[fd00::2]:7000"} {
		var in net.PacketConn
		b.do(t, func() (err error) {
			in, err = net.ListenPacket("udp", address)
			return err
		})
		var out net.Conn
		a.do(t, func() (err error) {
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
				c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
				return err
			}}
			out, err = d.DialContext(context.Background(), "udp", address)
			return err
		})
		data := pattern(30*1000 + 17)
		if _, err := out.Write(data); err != nil {
			t.Fatal(err)
		}
		in.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 2000)
		for i := range 31 {
			n, _, err := in.ReadFrom(buf)
			if err != nil {
				t.Fatalf("%s: datagram %d: %v; sender %+v, receiver %+v", address, i, err,
					da.(tun.StatsSource).Stats(), db.(tun.StatsSource).Stats())
			}
			if want := data[i*1000 : min((i+1)*1000, len(data))]; !bytes.Equal(buf[:n], want) {
				t.Fatalf("%s: datagram %d has %d bytes, want %d", address, i, n, len(want))
			}
		}
		in.Close()
		out.Close()
	}
	stop()
	if s := da.(tun.StatsSource).Stats(); s.SuperRead != 2 {
		t.Errorf("sender %+v", s)
	}
	if s := db.(tun.StatsSource).Stats(); s.SuperWrites != 2 || s.Merged != 62 {
		t.Errorf("receiver %+v", s)
	}
}
