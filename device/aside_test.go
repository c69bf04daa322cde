package device

import (
	"log/slog"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/timers"
	"culvert/tun/tuntest"
)

// A tick has so much, and the rest of it is waited for.
func TestAllowance(t *testing.T) {
	a := allowance{most: 100}
	const tick = clock.Time(timers.Tick)
	for i, c := range []struct {
		now  clock.Time
		n    int
		want time.Duration
	}{
		{7*tick + 1, 60, 0},
		{7*tick + 2, 39, 0},
		{7*tick + 3, 1, time.Duration(tick - 3)},
		{7*tick + 4, 50, time.Duration(tick - 4)},
		{8 * tick, 99, 0}, // nothing is carried over
		{9*tick - 1, 1, 1},
	} {
		if got := a.take(c.now, c.n); got != c.want {
			t.Errorf("%d: wait %v, want %v", i, got, c.want)
		}
	}
	if got := (&allowance{}).take(tick, 1<<30); got != 0 {
		t.Errorf("packets wait %v", got)
	}
}

// Every datagram counts, also one with nothing in it, or too much.
func TestEveryDatagramCounts(t *testing.T) {
	d := &Device{}
	d.log = slog.New(slog.DiscardHandler)
	in := &inbound{d: d, batch: newInBatch(3)}
	defer in.batch.free()
	in.batch.conn.Messages = []conn.Message{{}, {Data: []byte{9}, Segment: 1}, {}}
	in.batch.conn.Cut = 5
	if n := in.sort(); n != 8 || d.drops.load(DropMalformed) != 3 {
		t.Errorf("%d are counted, %d dropped", n, d.drops.load(DropMalformed))
	}
}

// asideSocket has its own receivers for what is no packet: all of them, here.
type asideSocket struct{ conn.Sockets }

type asideReceiver struct{ conn.Receiver }

func (asideReceiver) Lane() conn.Lane { return conn.LaneAside }

func (s asideSocket) Receivers() (all []conn.Receiver) {
	for _, r := range s.Sockets.Receivers() {
		all = append(all, asideReceiver{r})
	}
	return all
}

type asideNetwork struct {
	conn.Network
	main conn.Main
}

func (n *asideNetwork) Split(main conn.Main) conn.Network {
	n.main = main
	return n
}

func (n *asideNetwork) Listen(port uint16, mark uint32) (conn.Sockets, error) {
	s, err := n.Network.Listen(port, mark)
	return asideSocket{s}, err
}

// What is no packet comes through a socket of its own, of which a tick's worth is read while the
// readers of packets are behind, and all while they are not.
func TestAsideHasAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		l.SetQueue(1 << 20)
		addr := netip.MustParseAddr("192.0.2.1")
		n := &asideNetwork{Network: l.host(addr)}
		d, err := New(tuntest.NewUp(1420), n, Options{Clock: clock.Virtual(), Workers: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		port := uint16(51820)
		if err := d.Configure(&config.Update{HasListenPort: true, ListenPort: port}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n.main.Header != [4]byte{4} || n.main.Least != 32 { // protocol, section 5.4.6: type, reserved; an empty packet
			t.Fatalf("%+v is told apart", n.main)
		}
		most, sent := asidePerTick*d.handshakeWorkers, 0
		junk := func(count int) {
			for range count {
				l.inject(nowhere, netip.AddrPortFrom(addr, port), 0, []byte{9})
			}
			sent += count
			synctest.Wait()
		}
		read := func(least, most int) {
			t.Helper()
			if got := int(d.drops.load(DropMalformed)); got < least || got > most {
				t.Fatalf("%d were read, want %d to %d", got, least, most)
			}
		}
		junk(2 * most)
		read(sent, sent) // it did not matter
		d.readerCounts.behind.Store(1)
		d.readerCounts.busy.Store(math.MaxInt64) // for ever
		defer d.readerCounts.behind.Store(0)
		sleep(time.Second)
		before := sent
		junk(3*most + most/2)
		for tick := range 3 {
			read(before+(tick+1)*most, before+(tick+1)*(most+receiveSlots))
			sleep(time.Duration(timers.Tick))
		}
		read(sent, sent)
	})
}
