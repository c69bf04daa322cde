package device

import (
	"strings"
	"testing"
	"testing/synctest"

	"culvert/conn"
	"culvert/internal/offload"
)

// Readers are counted while they run, and those that hand over while they do.
func TestReadersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: 1})
		synctest.Wait()
		d := p.a.d
		const readers = 3 // TUN, IPv4, IPv6
		if s := d.Stats(); !s.Up || s.Port == 0 || s.MTU != d.MTU() || s.Workers != 1 || s.Peers != 1 || s.Readers != readers || s.Handing != 0 {
			t.Fatalf("%+v", s)
		}
		l := d.newLoad()
		for range fullDrains {
			l.note(1, false)
		}
		if s := d.Stats(); s.Readers != readers+1 || s.Handing != 1 {
			t.Errorf("one more that hands over: %d, %d", s.Readers, s.Handing)
		}
		for range fullDrains {
			l.note(1, true)
		}
		if s := d.Stats(); s.Handing != 0 {
			t.Errorf("it stopped: %d", s.Handing)
		}
		for range fullDrains {
			l.note(1, false)
		}
		l.end()
		if s := d.Stats(); s.Readers != readers || s.Handing != 0 {
			t.Errorf("it ended: %d, %d", s.Readers, s.Handing)
		}
		d.Close()
		if s := d.Stats(); s.Readers != 0 || s.Up {
			t.Errorf("closed: %+v", s)
		}
	})
}

// Every reason is in the counters, those that occurred in the log.
func TestDropsInStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newPair(t, Options{}).a.d
		d.dropped(d.clock.Now(), DropLoop, 3, nil)
		s := d.Stats()
		if len(s.Drops) != int(numReasons)-1 || s.Drops["routing_loop"] != 3 {
			t.Errorf("%v", s.Drops)
		}
		s.Offloads = []offload.State{{Where: "tun", Name: "x", On: true}}
		if log := s.LogValue().String(); !strings.Contains(log, "map[routing_loop:3]") || !strings.Contains(log, "[tun x: on]") {
			t.Error(log)
		}
	})
}

// What a receive says about its reader: see behind.
func TestBehind(t *testing.T) {
	for _, c := range []struct {
		messages, size int
		waited, want   bool
	}{
		{1, 100, false, false},
		{receiveSlots, 100, true, true},
		{receiveSlots - 1, 100, false, false},
		{2, maxGroup / 2, false, true},
		{2, maxGroup / 2, true, false},
		{2, maxGroup/2 - 1, false, false},
	} {
		b := &conn.Batch{Waited: c.waited}
		for range c.messages {
			b.Messages = append(b.Messages, conn.Message{Data: make([]byte, c.size)})
		}
		if got := behind(b); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
