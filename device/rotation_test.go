package device

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/session"
	"culvert/noise"
)

// A key that the first message under a new one puts an end to is found no more when that
// message is delivered, even if the controller has not come to it.
func TestOldKeyEndsWithTheFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{Workers: -1})
		p.connect() // b responds
		renew := func() {
			sleep(6 * time.Second)
			p.a.d.do(func() {
				var out session.Actions
				c, peer := p.a.d.controller, p.a.peer(p.b)
				peer.machine.NeedKeys(c.now, session.ConfigChanged, &out)
				c.perform(peer, &out, nil)
			})
			synctest.Wait()
		}
		old := p.a.sealed(p.b, p.a.packet4(p.b, "too late"))
		stillOld := p.a.sealed(p.b, p.a.packet4(p.b, "late"))
		renew()
		p.lan.inject(p.a.outer, p.b.outer, 0, stillOld)
		p.b.wantReceived(p.a.packet4(p.b, "late"))
		var first []byte
		p.lan.setFate(func(d *datagram) {
			if d.from == p.a.outer && noise.Classify(d.data) == noise.TypeTransport {
				first, d.lost = slices.Clone(d.data), true
			}
		})
		renew()
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
