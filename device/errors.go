package device

import (
	"sync/atomic"
	"time"

	"culvert/internal/clock"
)

// errorEvery bounds the log lines about errors of the network and the TUN.
const errorEvery = 10 * time.Second

// errorLog remembers when errors were last logged.
type errorLog struct{ send, tun, timestamp atomic.Int64 }

// may reports whether it is time for another line.
func (d *Device) may(last *atomic.Int64) bool {
	now, then := d.clock.Now(), last.Load()
	return (then == 0 || now.Sub(clock.Time(then)) >= errorEvery) && last.CompareAndSwap(then, int64(now))
}

// sendFailed logs that the network refused a datagram, and has the sockets looked
// at if it is they that are to blame.
func (d *Device) sendFailed(p *peer, err error) {
	d.state.sendRefused(err)
	if err != nil && d.may(&d.errors.send) {
		d.log.Warn("cannot send", "peer", p.public.Short(), "error", err)
	}
}

// tunFailed logs that the interface refused a packet.
func (d *Device) tunFailed(err error) {
	if err != nil && d.may(&d.errors.tun) {
		d.log.Warn("cannot write to the interface", "error", err)
	}
}

// oldTimestamp logs that an initiation is refused for its timestamp. The hint is
// for a switch of the peer from boringtun, whose labels are 27 s ahead.
func (d *Device) oldTimestamp(p *peer) {
	if d.may(&d.errors.timestamp) {
		d.log.Warn("initiation refused, its timestamp is not newer than the last one's: a replay, or the peer's clock went back; "+
			"after a switch from an implementation whose clock runs ahead this passes in under a minute", "peer", p.public.Short())
	}
}
