package device

import (
	"math"

	"culvert/conn"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/timers"
)

// The second half of the outbound pipe: reserve counters, seal, send in order.

// newBatch gives an empty batch that holds a reference to k; nil if the budget
// is used up or k is just being retired.
func (d *Device) newBatch(p *peer, k *keypair, now clock.Time) *outBatch {
	if !k.acquire() {
		return nil
	}
	b := d.outPool.get()
	if b == nil {
		k.release()
		return nil
	}
	b.begin(p, k, now)
	return b
}

// send takes a reader's batch through the rest of the pipe: counters, sealing
// here or on a worker, then the peer's sequential sender. It waits while as many
// batches as may wait for that sender, so that a reader is never far ahead; when
// memory is short it waits for its turn and sends the batch itself.
func (d *Device) send(b *outBatch, parallel bool) {
	p := b.peer
	if !d.reserve(b) || parallel && !b.spare && d.hand(b) {
		return
	}
	b.seal()
	switch {
	case p.out.enter():
		d.emit(b)
	case b.spare || d.outPool.scarce(): // what is left to others is not there for the next packet
		p.out.enterWaiting()
		d.emit(b)
	case !p.out.pushWithin(maxWaiting, b):
		return
	}
	d.endTerm(p, maxWaiting)
}

// sendOne is send for the controller, and for who holds a stage's lock: it waits
// for nobody, and sends no batch but b.
func (d *Device) sendOne(b *outBatch) {
	p := b.peer
	if !d.reserve(b) {
		return
	}
	b.seal()
	if p.out.enter() {
		d.emit(b)
	} else if !p.out.push(b) {
		return
	}
	d.endTerm(p, 0)
}

// endTerm sends at most as many batches as others have pushed while the caller
// was p's sender, and leaves the rest to a goroutine: others may go on for as
// long as there is traffic, and the caller has other peers to serve.
func (d *Device) endTerm(p *peer, most int) {
	if d.runSender(p, most) {
		d.runners.Go(func() { d.runSender(p, math.MaxInt) })
	}
}

// reserve takes counters for b; false if the key has none left: b is gone.
func (d *Device) reserve(b *outBatch) bool {
	first, ok := d.reserveCounters(b.peer, b.key, b.now, len(b.packets))
	if b.counter = first; !ok {
		d.recycle(b)
	}
	return ok
}

// reserveCounters takes counters for packets of p, and asks for other keys when k
// wants renewing; false if k has none left: the packets are dropped.
func (d *Device) reserveCounters(p *peer, k *keypair, now clock.Time, packets int) (first uint64, ok bool) {
	n := uint64(packets)
	first = k.next.Add(n) - n
	if first+n > timers.RejectAfterMessages {
		d.dropped(now, DropKeySpent, packets, p)
		d.needKeys(p, session.RekeyMessages)
		return first, false
	}
	if why := k.wantsRenewal(now, first); why != session.None && !d.needKeys(p, why) {
		k.renewingSend.Store(false) // the next batch tries again
	}
	return first, true
}

// hand gives b to the workers and its place to the peer's sender; false if
// they have enough to do, or no memory is left to go on with, so that the reader
// had better help itself.
func (d *Device) hand(b *outBatch) bool {
	if len(d.work) == cap(d.work) || b.peer.out.waiting() >= maxWaiting || d.outPool.scarce() {
		return false
	}
	b.handed = true
	if b.peer.out.push(b) {
		d.runners.Go(func() { d.runSender(b.peer, math.MaxInt) })
	}
	select {
	case d.work <- job{out: b}:
	default: // another reader was quicker; the place is taken, so the turn is ours
		b.seal()
		b.sealed <- struct{}{}
	}
	return true
}

// runSender is the peer's sequential sender: it sends what was pushed, in that
// order, until nothing is left or most batches are sent. With more left the caller
// is still the sender.
func (d *Device) runSender(p *peer, most int) (more bool) {
	for range most {
		b, ok := p.out.next()
		if !ok {
			return false
		}
		if b.handed {
			<-b.sealed
			b.handed = false
		}
		d.emit(b)
	}
	return p.out.leave()
}

// emit hands a sealed batch to the network, notes what became of it and
// returns its memory. Once per batch: one send, one set of counters.
func (d *Device) emit(b *outBatch) {
	defer d.recycle(b)
	p, to, s := b.peer, b.peer.endpoint.Load(), d.sockets.Load()
	switch {
	case s == nil:
		d.dropped(b.now, DropDown, len(b.packets), p)
		return
	case to == nil:
		d.dropped(b.now, DropNoEndpoint, len(b.packets), p)
		return
	}
	runs := b.cut(to)
	p.activity.sent(b.now, b.data)
	sendFrom(*s, b.shard, runs)
	d.account(p, to, b.now, runs)
}

// account notes what became of runs sent to p.
func (d *Device) account(p *peer, to *conn.Endpoint, now clock.Time, runs []conn.Run) {
	sent := 0
	for i := range runs {
		if runs[i].SourceLost {
			p.forgetSource(to)
		}
		if runs[i].Err == nil {
			sent += len(runs[i].Data)
		} else {
			d.dropped(now, DropSendError, packetsIn(&runs[i]), p)
			d.sendFailed(p, runs[i].Err)
		}
	}
	p.tx.Add(uint64(sent))
}

// sendFrom sends through the sockets of a shard, where there are several.
func sendFrom(s conn.Sockets, shard int, runs []conn.Run) {
	if several, ok := s.(conn.Sharded); ok {
		several.SendFrom(shard, runs)
		return
	}
	s.Send(runs)
}

// recycle ends a batch.
func (d *Device) recycle(b *outBatch) {
	b.key.release()
	b.peer, b.key, b.n, b.data, b.shard = nil, nil, 0, false, 0
	b.packets = b.packets[:0]
	clear(b.runs)
	if !b.spare {
		d.outPool.put(b)
	}
}
