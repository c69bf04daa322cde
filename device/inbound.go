package device

import (
	"errors"
	"math"
	"net"
	"time"

	"culvert/conn"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
	"culvert/tun"
)

// inbound is one socket's way to the TUN: receive, look up the key, open,
// check, write. It is used by one goroutine.
type inbound struct {
	d        *Device
	shard    int // its number: it writes through a file of its own, if there are several
	receiver conn.Receiver
	lane     conn.Lane
	of       *receivers
	batch    *inBatch // of the receive in hand: from the pool, or spare; nil: others are at work on it
	spare    *inBatch // for when the budget is used up: the socket must be read; never handed on
	now      clock.Time
	hasher   noise.Hasher // checks mac1
	load     load
	rhythm   moderation
	allowance
	looked   clock.Time // the tick in which it looked for a flood
	unopened unopened
	shift    shift
}

// run receives until the socket is closed, or fails.
func (in *inbound) run() {
	defer in.load.end()
	if in.spare = in.newSpare(); in.spare == nil {
		in.failed(errNoReceiveMemory)
		return
	}
	defer in.end()
	for {
		in.takeBatch()
		if err := in.receiver.Receive(in.batch.conn); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				in.failed(err)
			}
			return
		}
		in.now, in.batch.shard = in.d.clock.Now(), in.shard
		waited, drained := in.batch.conn.Waited, len(in.batch.conn.Messages) < len(in.batch.conn.Slots())
		in.load.note(in.now, !behind(in.batch.conn))
		in.shift.note(waited)
		packets := in.sort()
		in.dispatch()
		if tick := tickOf(in.now); tick != in.looked {
			in.looked = tick
			in.d.flood.look(tick, in.d.useless())
		}
		if pause := in.take(in.now, packets); pause > 0 && in.d.readerCounts.anyBehind(in.now) {
			time.Sleep(pause)
		}
		if in.rhythm.note(in.now, packets, waited) && drained {
			in.rhythm.pause()
		}
	}
}

// newSpare makes the spare batch. That of a reader aside is its only one, and small: the budget is for
// the main traffic.
func (in *inbound) newSpare() *inBatch {
	switch in.lane {
	case conn.LaneAside:
		return newInBatchOf(conn.NewBatchOf(receiveSlots, asideSize), receiveSlots)
	case conn.LaneRest:
		return newInBatchOf(conn.NewBatch(receiveSlots), receiveSlots)
	}
	return newInBatch(1)
}

// takeBatch has a batch ready for the next receive.
func (in *inbound) takeBatch() {
	if in.batch != nil && in.batch != in.spare {
		return
	}
	in.batch = in.spare
	if in.lane != conn.LaneMain {
		return
	}
	if b := in.d.inPool.get(); b != nil {
		in.batch = b
	}
}

// failed tells the controller, which opens new sockets.
func (in *inbound) failed(err error) {
	in.of.failed.CompareAndSwap(nil, &err)
	in.d.state.signal()
}

// behind says whether a receive shows that its reader does not keep up: it was
// full, or so much was there at once that one job for a worker is full of it. That
// a few were there means nothing, they come in bursts. (Where it is not told
// whether a receive waited, the amount has to do.)
func behind(b *conn.Batch) bool {
	if len(b.Messages) == receiveSlots {
		return true
	}
	bytes := 0
	for i := range b.Messages {
		bytes += len(b.Messages[i].Data)
	}
	return !b.Waited && bytes >= maxGroup
}

// end gives back the memory of a reader that has ended.
func (in *inbound) end() {
	if in.batch != nil && in.batch != in.spare {
		in.d.inPool.put(in.batch)
	}
	in.spare.free()
}

// sort cuts the runs into datagrams, puts each where it belongs and tells how
// many there were, with those that were too large to be received.
func (in *inbound) sort() (packets int) {
	in.batch.reset()
	packets = in.batch.conn.Cut
	for i := range in.batch.conn.Messages {
		m := &in.batch.conn.Messages[i]
		if len(m.Data) == 0 {
			in.d.dropped(in.now, DropMalformed, 1, nil)
			packets++
		}
		for rest := m.Data; len(rest) > 0; {
			n := min(m.Segment, len(rest))
			in.message(rest[:n:n], m)
			rest = rest[n:]
			packets++
		}
	}
	in.unopened.note(in.d, in.now)
	return packets
}

// message puts a transport message into the group of its keypair and a
// handshake message into the queue. Junk ends here.
func (in *inbound) message(b []byte, m *conn.Message) {
	switch noise.Classify(b) {
	case noise.TypeTransport:
		in.transport(b, m)
	case noise.TypeInitiation, noise.TypeResponse, noise.TypeCookieReply:
		in.offerHandshake(b, m)
	default:
		in.d.dropped(in.now, DropMalformed, 1, nil)
	}
}

// transport puts a transport message into the group of its keypair.
func (in *inbound) transport(b []byte, m *conn.Message) {
	e := in.d.index.get(noise.Receiver(b))
	var k *keypair
	if e != nil {
		k = e.keypair.Load()
	}
	if k == nil {
		in.d.dropped(in.now, DropUnknownIndex, 1, nil)
		return
	}
	if spent := noise.Counter(b) >= timers.RejectAfterMessages; spent || in.now >= k.rejectAt {
		in.d.dropped(in.now, DropKeyExpired, 1, k.peer)
		if spent && in.d.flood.on.Load() {
			in.unopened.add(in.d, k.peer, in.now)
		}
		return
	}
	g := in.batch.group(k, in.now)
	if g == nil {
		in.d.dropped(in.now, DropKeyExpired, 1, k.peer)
		return
	}
	g.add(b, m)
}

// dispatch takes every group through the rest of the pipe: opening here or on a
// worker, then the peer's sequential receiver. Handing over takes memory to go on
// with: when there is none the reader does the work itself, from the spare batch all
// of it, and the socket's buffer has to hold what comes meanwhile.
func (in *inbound) dispatch() {
	b, spare := in.batch, in.batch == in.spare
	parallel := in.load.parallel() && !spare && !in.d.inPool.scarce()
	b.share()
	b.left.Store(int32(b.used) + 1)
	for _, g := range b.groups[:b.used] {
		p := g.key.peer
		if parallel && in.d.handIn(g) {
			continue
		}
		g.open()
		if spare {
			p.in.enterWaiting()
		}
		if spare || p.in.enter() {
			in.d.deliver(g)
		} else if !p.in.push(g) {
			continue
		}
		if in.d.runReceiver(p, maxWaiting) {
			in.d.runners.Go(func() { in.d.runReceiver(p, math.MaxInt) })
		}
	}
	if b.left.Add(-1) != 0 {
		in.batch = nil
	}
}

// handIn is hand for inbound groups.
func (d *Device) handIn(g *inGroup) bool {
	p := g.key.peer
	if len(d.work) == cap(d.work) || p.in.waiting() >= maxWaiting {
		return false
	}
	g.handed = true
	if p.in.push(g) {
		d.runners.Go(func() { d.runReceiver(p, math.MaxInt) })
	}
	select {
	case d.work <- job{in: g}:
	default:
		g.open()
		g.opened <- struct{}{}
	}
	return true
}

// runReceiver is the peer's sequential receiver: it delivers what was pushed, in
// that order, until nothing is left or most groups are delivered. With more left
// the caller is still the receiver.
func (d *Device) runReceiver(p *peer, most int) (more bool) {
	for range most {
		g, ok := p.in.next()
		if !ok {
			return false
		}
		if g.handed {
			<-g.opened
			g.handed = false
		}
		d.deliver(g)
	}
	return p.in.leave()
}

// deliver checks the opened packets in order (replay, inner header, allowed
// source) and writes them to the TUN. Once per group: one endpoint compare, one
// set of notes for the timers, one set of counters, one write.
func (d *Device) deliver(g *inGroup) {
	k, p := g.key, g.key.peer
	var last *conn.Message // that the last authenticated packet came with
	rx, data, good := 0, 0, 0
	for pk := g.head(); pk != nil; pk = g.after(pk) {
		if pk.bad == notDropped && !k.window.Accept(pk.counter()) {
			pk.bad = DropReplay
		}
		if pk.bad != notDropped {
			d.dropped(g.now, pk.bad, 1, p)
			continue
		}
		last = pk.msg
		good++
		if len(pk.buf) == noise.KeepaliveSize {
			rx += noise.KeepaliveSize
			continue
		}
		data++
		n, why := d.checkInner(p, pk.plaintext(), pk.msg.TOS)
		if why != notDropped {
			d.dropped(g.now, why, 1, p)
			continue
		}
		rx += len(pk.buf)
		g.writes = append(g.writes, pk.buf[:noise.TransportHeaderSize+n])
	}
	if last != nil {
		if k.window.Wide() && !k.wideWindow.Load() {
			k.wideWindow.Store(true)
		}
		d.authenticated(k, last, g.now, data)
		p.rx.Add(uint64(rx))
	}
	if d.flood.on.Load() {
		d.flood.note(p, tickOf(g.now), good, g.count-good)
	}
	if len(g.writes) > 0 {
		if n, err := d.writeFrom(g.batch.shard, g.writes); n < len(g.writes) {
			d.dropped(g.now, DropTunError, len(g.writes)-n, p)
			d.tunFailed(err)
		}
	}
	d.finish(g)
}

// writeFrom writes to the TUN through the file of a shard, where there are
// several.
func (d *Device) writeFrom(shard int, packets [][]byte) (int, error) {
	if several, ok := d.tun.(tun.Sharded); ok {
		return several.WriteFrom(shard, packets, noise.TransportHeaderSize)
	}
	return d.tun.Write(packets, noise.TransportHeaderSize)
}

// authenticated notes that packets of k came with m: the endpoint follows, the
// timers learn, a responder's session is confirmed, an old key renewed.
func (d *Device) authenticated(k *keypair, m *conn.Message, now clock.Time, data int) {
	p := k.peer
	p.learn(m)
	p.activity.received(now, data)
	if k.unconfirmed.Load() && k.unconfirmed.CompareAndSwap(true, false) {
		p.promote(k)
		if old := k.replaces.Swap(nil); old != nil {
			d.index.hide(old) // before the message is delivered: the controller, which retires it, may take its time
		}
		if !d.post(event{kind: evConfirmed, peer: p, index: k.keys.LocalIndex}) {
			k.unconfirmed.Store(true) // the next packet tries again
		}
	}
	if k.wantsLateRenewal(now) && !d.needKeys(p, session.RekeyReceiving) {
		k.renewingRecv.Store(false) // the next packet tries again
	}
}

// finish ends a group. The last user of a batch returns its memory; the reader, if
// that is the last (dispatch), keeps it.
func (d *Device) finish(g *inGroup) {
	g.key.release()
	g.key = nil
	if b := g.batch; b.left.Add(-1) == 0 {
		d.inPool.put(b)
	}
}
