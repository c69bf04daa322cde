package device

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/session"
	"culvert/noise"
)

// renew has h begin another session with o.
func (h *host) renew(o *host) {
	sleep(6 * time.Second)
	h.d.do(func() {
		var out session.Actions
		c, p := h.d.controller, h.peer(o)
		p.machine.NeedKeys(c.now, session.ConfigChanged, &out)
		c.perform(p, &out, nil)
	})
	synctest.Wait()
}

// A key that the first message under a new one puts an end to is found no more when that
// message is delivered, even if the controller has not come to it.
func TestOldKeyEndsWithTheFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1})
		p.connect() // b responds
		old := p.a.sealed(p.b, p.a.packet4(p.b, "too late"))
		stillOld := p.a.sealed(p.b, p.a.packet4(p.b, "late"))
		p.a.renew(p.b)
		p.lan.inject(p.a.outer, p.b.outer, 0, stillOld)
		p.b.wantReceived(p.a.packet4(p.b, "late"))
		var first []byte
		p.lan.setFate(func(d *datagram) {
			if d.from == p.a.outer && noise.Classify(d.data) == noise.TypeTransport {
				first, d.lost = slices.Clone(d.data), true
			}
		})
		p.a.renew(p.b)
		block := make(chan struct{})
		go p.b.d.do(func() { <-block }) // ends below
		synctest.Wait()
		p.b.wantDrops(nil)
		p.lan.inject(p.a.outer, p.b.outer, 0, first)
		synctest.Wait()
		p.lan.inject(p.a.outer, p.b.outer, 0, old)
		p.b.wantReceived()
		p.b.wantDrops(map[Reason]uint64{DropUnknownIndex: 1})
		close(block)
		p.lan.setFate(nil)
		synctest.Wait()
		if n := p.b.d.index.len(); n != 2 {
			t.Errorf("%d indices are in use, want those of current and previous", n)
		}
	})
}

// A key that is gone holds none of those before it, however many sessions are never confirmed.
func TestOldKeysAreNotChained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1})
		p.connect()
		p.a.renew(p.b)
		p.lan.setFate(func(d *datagram) { d.lost = d.from == p.a.outer && noise.Classify(d.data) == noise.TypeTransport })
		for range 5 {
			p.a.renew(p.b) // b never hears of it
			p.b.renew(p.a)
		}
		longest := 0
		p.b.d.do(func() {
			for _, k := range p.b.peer(p.a).keypairs() {
				for n := 0; k != nil; n++ {
					longest, k = max(longest, n), k.replaces.Load()
				}
			}
		})
		if longest != 1 {
			t.Errorf("a key leads to %d before it, want the one it replaces", longest)
		}
	})
}
