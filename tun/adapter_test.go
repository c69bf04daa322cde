package tun_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"

	"culvert/tun"
	"culvert/tun/tuntest"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// foreign is a device of the library, played by the test.
type foreign struct {
	batches chan [][]byte
	readErr error
	written [][]byte
	calls   []int
	fail    error
	mtu     int
	events  chan wgtun.Event
	closed  chan struct{}
}

func newForeign() *foreign {
	return &foreign{
		batches: make(chan [][]byte, 10), mtu: 1420,
		events: make(chan wgtun.Event, 10), closed: make(chan struct{}),
	}
}

func (f *foreign) File() *os.File             { return nil }
func (f *foreign) MTU() (int, error)          { return f.mtu, nil }
func (f *foreign) Name() (string, error)      { return "foreign0", nil }
func (f *foreign) Events() <-chan wgtun.Event { return f.events }
func (f *foreign) BatchSize() int             { return 4 }

func (f *foreign) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case batch := <-f.batches:
		for i, p := range batch {
			sizes[i] = copy(bufs[i][offset:], p)
		}
		return len(batch), f.readErr
	case <-f.closed:
		return 0, os.ErrClosed
	}
}

func (f *foreign) Write(bufs [][]byte, offset int) (int, error) {
	f.calls = append(f.calls, len(bufs))
	if f.fail != nil {
		err := f.fail
		f.fail = nil
		return 0, err
	}
	for _, b := range bufs {
		f.written = append(f.written, append([]byte{}, b[offset:]...))
	}
	return len(bufs), nil
}

func (f *foreign) Close() error {
	close(f.closed)
	close(f.events)
	return nil
}

func TestAdapter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForeign()
		d := tun.Adapt(f)
		if d.Name() != "foreign0" || d.MTU() != 1420 {
			t.Errorf("%s with MTU %d", d.Name(), d.MTU())
		}
		r, packets := d.Readers()[0], stream(3, 100)
		var p tun.Packet
		if ok, err := r.TryRead(&p); ok || err != nil {
			t.Errorf("TryRead before a batch: %v, %v", ok, err)
		}
		f.batches <- nil
		f.batches <- [][]byte{{1, 2, 3}, packets[0], nil, packets[1]}
		f.batches <- [][]byte{packets[2]}
		var got [][]byte
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		got = append(got, splitAll(t, &p)...)
		for {
			ok, err := r.TryRead(&p)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			got = append(got, splitAll(t, &p)...)
		}
		compare(t, got, packets[:2])
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		compare(t, splitAll(t, &p), packets[2:])

		f.fail = errors.New("no")
		many := stream(10, 100)
		n, err := d.Write(withHeadroom(many), tun.Headroom)
		if n != 6 || err == nil || err.Error() != "no" {
			t.Errorf("took %d, %v; want 6 and the first error", n, err)
		}
		compare(t, f.written, many[4:])

		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Read(&p); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
		if _, err := r.TryRead(&p); !errors.Is(err, os.ErrClosed) {
			t.Errorf("TryRead after Close: %v", err)
		}
		if e, ok := <-d.Events(); ok {
			t.Errorf("event %+v", e)
		}
	})
}

func TestAdapterEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForeign()
		d := tun.Adapt(f)
		f.events <- wgtun.EventUp
		wantEvent(t, d, up)
		f.events <- wgtun.EventUp // repeated
		f.mtu = 1300
		f.events <- wgtun.EventMTUUpdate
		wantEvent(t, d, mtu(1300))
		f.events <- wgtun.EventMTUUpdate // nothing changed
		f.events <- wgtun.EventDown
		wantEvent(t, d, down)
		if d.MTU() != 1300 {
			t.Errorf("MTU %d", d.MTU())
		}
		close(f.events) // it ended by itself
		wantEvent(t, d, deleted)
		f.events = make(chan wgtun.Event)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAdapterDoesNotAllocate(t *testing.T) {
	f := newForeign()
	d := tun.Adapt(f)
	defer d.Close()
	ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 1, nil)
	batch := [][]byte{ping, ping, ping, ping}
	r := d.Readers()[0]
	var p tun.Packet
	if n := testing.AllocsPerRun(100, func() {
		f.batches <- batch
		if err := r.Read(&p); err != nil {
			t.Fatal(err)
		}
		for ok := true; ok; {
			ok, _ = r.TryRead(&p)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
