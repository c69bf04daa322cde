package device

import (
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
)

// slowListen is a network whose sockets take their time to open.
type slowListen struct {
	conn.Network
	delay time.Duration
}

func (n slowListen) Listen(port uint16, mark uint32) (conn.Sockets, error) {
	time.Sleep(n.delay) // of the bubble's clock
	return n.Network.Listen(port, mark)
}

// The link may be up, and give packets, before the device is: they are not lost,
// as long as that does not take longer than a packet is worth.
func TestPacketsBeforeTheSocketsAreOpen(t *testing.T) {
	for _, c := range []struct {
		delay time.Duration
		lost  uint64
	}{{upPatience / 2, 0}, {upPatience * 2, 2}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, Options{})
			p.connect()
			p.a.tun.Down()
			synctest.Wait()
			p.a.d.network = slowListen{p.a.net, c.delay}
			p.a.tun.Up()
			packets := [][]byte{p.a.packet4(p.b, "one"), p.a.packet4(p.b, "two")}
			for _, packet := range packets {
				p.a.send(packet)
			}
			time.Sleep(3 * upPatience)
			synctest.Wait()
			if got := p.a.drops(DropDown); got != c.lost {
				t.Errorf("up after %v: %d packets were dropped, not %d", c.delay, got, c.lost)
			}
			if c.lost == 0 {
				p.b.wantReceived(packets...)
			}
			again := p.a.packet4(p.b, "after it")
			p.a.send(again)
			p.b.wantReceived(again)
		})
	}
}

// A peer that is removed and added again while the wall clock goes back is
// greeted with a newer label all the same.
func TestAddedAgainWithTheClockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := &backwards{Clock: clock.Virtual()}
		p := newPair(t, Options{Clock: wall})
		p.connect()
		wall.by = time.Hour
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Remove: true}}})
		p.a.knows(p.b)
		time.Sleep(time.Second) // initiations within 20 ms are refused
		packet := p.a.packet4(p.b, "again")
		p.a.send(packet)
		p.b.wantReceived(packet)
		p.b.wantDrops(nil)
	})
}

// backwards is a clock whose wall time is off.
type backwards struct {
	clock.Clock
	by time.Duration
}

func (b *backwards) Wall() time.Time { return b.Clock.Wall().Add(-b.by) }
