package tuntest_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"

	"culvert/tun"
	"culvert/tun/tuntest"
)

var (
	a = netip.MustParseAddrPort("10.0.0.1:1")
	b = netip.MustParseAddrPort("10.0.0.2:2")
)

func headroom(p []byte) []byte { return append(make([]byte, tun.Headroom), p...) }

func TestPacketsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := tuntest.NewUp(1420)
		var _ tun.Device = d
		packet := tuntest.UDP(a, b, []byte("hello"))
		got := make(chan []byte)
		go func() {
			var p tun.Packet
			if err := d.Readers()[0].Read(&p); err != nil {
				t.Error(err)
			}
			got <- bytes.Clone(p.Bytes())
		}()
		synctest.Wait() // blocked durably
		if !d.Send(packet) {
			t.Error("not taken")
		}
		if g := <-got; !bytes.Equal(g, packet) {
			t.Errorf("read %x", g)
		}
		if n, err := d.Write([][]byte{headroom(packet)}, tun.Headroom); n != 1 || err != nil {
			t.Errorf("took %d, %v", n, err)
		}
		if g, err := d.Recv(); err != nil || !bytes.Equal(g, packet) {
			t.Errorf("received %x, %v", g, err)
		}
		if _, ok := d.TryRecv(); ok {
			t.Error("received more")
		}
		d.Close()
		if _, err := d.Recv(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Recv after Close: %v", err)
		}
	})
}

func TestSuperPacket(t *testing.T) {
	d := tuntest.NewUp(1420)
	defer d.Close()
	d.SendVirtio(make([]byte, 100)) // malformed: skipped
	d.SendVirtio(tuntest.Super(tuntest.UDP4("10.0.0.1:1", "10.0.0.2:2", make([]byte, 2500)), 1000, 0))
	var p tun.Packet
	if ok, err := d.Readers()[0].TryRead(&p); !ok || err != nil || p.Segments() != 3 {
		t.Errorf("%v, %v, %d segments", ok, err, p.Segments())
	}
	if ok, err := d.Readers()[0].TryRead(&p); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestEvents(t *testing.T) {
	d := tuntest.New(1420)
	packet := tuntest.Ping(a.Addr(), b.Addr(), 1, 1, nil)
	if n, err := d.Write([][]byte{headroom(packet)}, tun.Headroom); n != 0 || err != syscall.EIO {
		t.Errorf("while down: took %d, %v", n, err)
	}
	if d.Send(packet) {
		t.Error("sent while down")
	}
	d.Up()
	d.Up()
	d.SetMTU(1280)
	d.Down()
	d.Delete()
	d.Up()
	for _, want := range []tun.Event{{Kind: tun.Down}, {Kind: tun.Up}, {Kind: tun.MTUChanged, MTU: 1280}, {Kind: tun.Down}, {Kind: tun.Deleted}} {
		if got := <-d.Events(); got != want {
			t.Errorf("event %+v, want %+v", got, want)
		}
	}
	var p tun.Packet
	if err := d.Readers()[0].Read(&p); !errors.Is(err, tun.ErrDeleted) {
		t.Errorf("Read: %v", err)
	}
	d.Close()
	d.Close()
	if e, ok := <-d.Events(); ok {
		t.Errorf("event %+v", e)
	}
	if err := d.Readers()[0].Read(&p); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

func TestFailWrites(t *testing.T) {
	d := tuntest.NewUp(1420)
	defer d.Close()
	packet := tuntest.Ping(a.Addr(), b.Addr(), 1, 1, nil)
	odd := false
	d.FailWrites(func([]byte) error {
		if odd = !odd; odd {
			return syscall.ENOBUFS
		}
		return nil
	})
	bufs := [][]byte{headroom(packet), headroom(packet), headroom(packet)}
	if n, err := d.Write(bufs, tun.Headroom); n != 1 || err != syscall.ENOBUFS {
		t.Errorf("took %d, %v", n, err)
	}
	d.FailWrites(nil)
	if n, err := d.Write(bufs, tun.Headroom); n != 3 || err != nil {
		t.Errorf("took %d, %v", n, err)
	}
}

// A shallow queue loses what nobody receives in time, and says so.
func TestDepth(t *testing.T) {
	d := tuntest.NewUp(1420)
	d.SetDepth(2)
	defer d.Close()
	packet := tuntest.Ping(a.Addr(), b.Addr(), 1, 1, nil)
	for range 5 {
		d.Write([][]byte{headroom(packet)}, tun.Headroom)
	}
	if d.Overrun() != 3 || d.Lost() != 3 || d.Written(0) != 5 {
		t.Errorf("%d overrun, %d lost of %d", d.Overrun(), d.Lost(), d.Written(0))
	}
}

// A full queue holds Send back, and loses what is written, as a host would.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := tuntest.NewUp(1420)
		packet := tuntest.Ping(a.Addr(), b.Addr(), 1, 1, nil)
		for range tuntest.Queue + 3 {
			if n, err := d.Write([][]byte{headroom(packet)}, tun.Headroom); n != 1 || err != nil {
				t.Fatalf("took %d, %v", n, err)
			}
		}
		if d.Lost() != 3 {
			t.Errorf("%d lost, want 3", d.Lost())
		}
		result := make(chan bool)
		go func() {
			for range tuntest.Queue {
				d.Send(packet)
			}
			result <- d.Send(packet)
		}()
		synctest.Wait()
		select {
		case <-result:
			t.Error("Send does not block")
		default:
		}
		d.Close()
		if <-result {
			t.Error("sent after Close")
		}
	})
}
