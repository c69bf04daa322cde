package device

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"

	"culvert/conn"
	"culvert/internal/clock"
	"culvert/tun"
)

// maxOpen is the number of batches, so of peers, that one drain of the TUN
// fills side by side.
const maxOpen = 32

// Bounds of one drain, and with them how long its first packet waits for the
// last: reads, and bytes (a read can be a super-packet of 64 KiB).
const (
	maxDrain      = 128
	maxDrainBytes = 1 << 17
)

// maxServeBytes bounds what is sent of a backlog until the interface is looked at
// again: the longest that a flow which had nothing waiting waits for others.
const maxServeBytes = 1 << 16

// yieldBatches of a backlog are sent, and then other threads let run that wait for
// the processor: who has so much to send would else keep it until its time slice
// ends, some milliseconds. What it has sent waits that long where the receiver is
// on this machine, and so does every program that has an answer to give.
const yieldBatches = 6

// outbound is one TUN queue's way to the network: drain, route, lay into
// arenas by peer, reserve counters, seal, send. It is used by one goroutine.
type outbound struct {
	d      *Device
	shard  int // its number: it sends through sockets of its own, if there are several
	reader tun.Reader
	packet tun.Packet
	now    clock.Time
	mtu    int
	open   []*outBatch
	spare  *outBatch // for when the budget is used up, and nothing is open; nil: none
	ahead  backlog
	load   load
	rhythm moderation
	shift  shift
	lone   bool // the last read waited, and found one packet
	waited bool // for sockets, and there are still none
}

// run reads until the TUN is closed.
func (o *outbound) run() {
	defer o.d.readers.Done()
	o.own()
	defer o.disown()
	defer o.load.end()
	for {
		if err := o.reader.Read(&o.packet); err != nil {
			o.ended(err)
			return
		}
		o.now, o.mtu = o.d.clock.Now(), int(o.d.mtu.Load())
		waited := o.packet.Waited
		packets, drained := o.drain(waited && o.lone)
		o.lone = waited && packets == 1
		o.load.note(o.now, drained)
		o.flush()
		o.shift.note(waited)
		if !drained {
			o.shift.note(false)
			more, dry := o.workOff()
			packets, drained = packets+more, dry
		}
		if o.rhythm.note(o.now, packets, waited) && drained {
			o.rhythm.pause()
		}
	}
}

// drain routes the packet just read and those that can be read without waiting,
// up to the bounds of a drain. Where packets come alone it does not look for more
// (lone): the next read finds what there is, and most times there is nothing.
func (o *outbound) drain(lone bool) (packets int, drained bool) {
	for n, bytes := 1, 0; ; n++ {
		bytes += len(o.packet.Bytes())
		packets += o.packet.Segments()
		o.route()
		if lone {
			return packets, true
		}
		if n == maxDrain || bytes >= maxDrainBytes {
			return packets, false
		}
		if ok, err := o.reader.TryRead(&o.packet); !ok || err != nil {
			return packets, true // an error comes again from Read
		}
	}
}

// workOff reads ahead what waits in the interface, and sends a batch at a time of
// it and of what comes meanwhile, flow by flow in turn, until nothing is left
// (drained) or there is no memory to read ahead.
func (o *outbound) workOff() (packets int, drained bool) {
	defer o.ahead.rest()
	others, _ := o.d.clock.(clock.Yielder)
	for n := 1; ; n++ {
		dry := o.readAhead()
		o.now, o.mtu = o.d.clock.Now(), int(o.d.mtu.Load())
		packets += o.serve()
		empty := o.ahead.n == 0
		o.load.note(o.now, dry && empty)
		o.flush()
		if empty {
			return packets, dry
		}
		if n%yieldBatches == 0 && others != nil {
			others.Yield()
		}
	}
}

// readAhead fills the backlog; true if nothing is left to be read.
func (o *outbound) readAhead() (dry bool) {
	for {
		o.packet.Into = o.ahead.room()
		if o.packet.Into == nil {
			return false
		}
		if ok, err := o.reader.TryRead(&o.packet); !ok || err != nil {
			o.packet.Into = nil
			return true // an error comes again from Read
		}
		o.ahead.push(&o.packet)
	}
}

// serve routes as much of the backlog as one batch may be.
func (o *outbound) serve() (packets int) {
	for n, bytes := 0, 0; n < maxDrain && bytes < maxServeBytes; n++ {
		c, ok := o.ahead.pop(&o.packet)
		if !ok {
			break
		}
		bytes += len(o.packet.Bytes())
		packets += o.packet.Segments()
		o.route()
		o.ahead.done(c)
	}
	return packets
}

// own takes a batch that stays with the reader.
func (o *outbound) own() {
	if o.spare = o.d.outPool.get(); o.spare != nil {
		o.spare.spare = true
	}
}

func (o *outbound) disown() {
	if o.spare != nil {
		o.spare.spare = false
		o.d.outPool.put(o.spare)
	}
}

// ended tells of an interface that cannot be read any more though nobody closed
// it: a tunnel in one direction is worse than none.
func (o *outbound) ended(err error) {
	if errors.Is(err, os.ErrClosed) {
		return
	}
	if !errors.Is(err, tun.ErrDeleted) {
		o.d.log.Error("cannot read from the interface any more", "error", err)
	}
	o.d.goneOnce.Do(func() { close(o.d.gone) })
}

// route finds the peer of the packet and lays its segments into that peer's
// batch; or stages them; or drops them, and tells the sender why.
func (o *outbound) route() {
	ip := o.packet.Bytes()
	p := o.d.routes.Lookup(destination(ip))
	switch {
	case p == nil:
		o.refuse(DropNoPeer, nil, ip)
		return
	case !o.up():
		o.d.dropped(o.now, DropDown, o.packet.Segments(), p)
		return
	}
	to := p.endpoint.Load()
	switch {
	case to == nil:
		o.refuse(DropNoEndpoint, p, ip)
		return
	case o.d.loops(ip, to):
		o.d.dropped(o.now, DropLoop, o.packet.Segments(), p)
		if p.loopSaid.CompareAndSwap(false, true) {
			o.d.log.Warn("routing loop: packets for this peer's endpoint are routed into its own tunnel; exclude the endpoint from the route or set a firewall mark",
				"peer", p.public.Short(), "endpoint", to.Remote)
		}
		return
	}
	if p.stage.waiting() {
		o.d.flushStaged(p, o.now)
	}
	if k := p.sendKey.Load(); k.usable(o.now) {
		o.lay(p, k, outerTOS(ip))
	} else {
		o.stage(p)
	}
}

// upPatience is how long a packet waits for the device to come up.
const upPatience = time.Second

// up reports whether there are sockets. The TUN gives packets only while the
// link is up, so when there are none they are likely to be opened any moment:
// the first packet waits for that. Nobody else could be served meanwhile.
func (o *outbound) up() bool {
	if o.d.sockets.Load() != nil {
		o.waited = false
		return true
	}
	if o.waited {
		return false
	}
	o.waited = true
	raised := *o.d.raised.Load()
	if o.d.sockets.Load() == nil { // else they were opened before we had the channel
		select {
		case <-raised:
		case <-time.After(upPatience):
		case <-o.d.closing:
		}
	}
	return o.d.sockets.Load() != nil
}

// refuse drops the packet and lets its sender know that it is unreachable.
func (o *outbound) refuse(why Reason, p *peer, ip []byte) {
	o.d.dropped(o.now, why, o.packet.Segments(), p)
	o.d.unreachable(o.now, ip)
}

// lay copies the segments into the peer's open batch: the one copy there is.
func (o *outbound) lay(p *peer, k *keypair, tos byte) {
	b := o.batch(p, k)
	for i, n := 0, o.packet.Segments(); i < n; i++ {
		size := o.packet.SegmentLen(i)
		if b != nil && !b.room(size) {
			o.close(b)
			b = o.batch(p, k)
		}
		if b == nil && i == 0 && k.barred.Load() { // replaced since route looked
			o.stage(p)
			return
		}
		if b == nil {
			o.d.dropped(o.now, DropBudget, n-i, p)
			return
		}
		o.packet.CopySegment(i, b.add(size, paddedSize(size, o.mtu), tos))
		b.data = true
	}
}

// batch gives the open batch of a peer, or opens one; nil if the budget or the
// key is used up.
func (o *outbound) batch(p *peer, k *keypair) *outBatch {
	for i := len(o.open) - 1; i >= 0; i-- {
		if b := o.open[i]; b.peer == p && b.key == k {
			return b
		}
	}
	if len(o.open) == maxOpen {
		o.flush()
	}
	b := o.d.newBatch(p, k, o.now)
	if b == nil { // the open ones may be what used the budget up
		o.flush()
		if b = o.d.newBatch(p, k, o.now); b == nil && o.spare != nil && k.acquire() {
			b = o.spare
			b.begin(p, k, o.now)
		}
	}
	if b != nil {
		b.shard = o.shard
		o.open = append(o.open, b)
	}
	return b
}

// stage keeps copies of the segments until there are keys, and asks for them.
func (o *outbound) stage(p *peer) {
	for i, n := 0, o.packet.Segments(); i < n; i++ {
		size := o.packet.SegmentLen(i)
		if !o.d.stageBudget.take(stagedSize(size)) {
			o.d.dropped(o.now, DropStageFull, n-i, p)
			break
		}
		packet := make([]byte, size)
		o.packet.CopySegment(i, packet)
		if lost := p.stage.push(packet); lost > 0 {
			o.d.stageBudget.give(lost)
			o.d.dropped(o.now, DropStageFull, 1, p)
		}
	}
	if p.removed.Load() || o.d.sockets.Load() == nil {
		o.d.dropStaged(p, o.now, DropNoSession) // it went since route looked: what dropped the others is over
		return
	}
	o.d.needKeys(p, p.sendKey.Load().whyNot())
}

// close takes b, which is full, out of the open ones and sends it.
func (o *outbound) close(b *outBatch) {
	for i := range o.open {
		if o.open[i] == b {
			o.open = append(o.open[:i], o.open[i+1:]...)
			break
		}
	}
	o.d.send(b, o.load.parallel())
}

// flush sends every open batch.
func (o *outbound) flush() {
	parallel := o.load.parallel()
	for i, b := range o.open {
		o.open[i] = nil
		o.d.send(b, parallel)
	}
	o.open = o.open[:0]
}

// destination is the destination address of an IP packet.
func destination(ip []byte) netip.Addr {
	if ip[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(ip[16:20]))
	}
	return netip.AddrFrom16([16]byte(ip[24:40]))
}

// loops reports whether ip is a datagram from our own port to the very
// endpoint that it would be sent to: it would come back for ever.
func (d *Device) loops(ip []byte, to *conn.Endpoint) bool {
	var transport []byte
	switch {
	case ip[0]>>4 == 4 && ip[9] == protoUDP:
		transport = ip[min(len(ip), int(ip[0]&15)*4):]
	case ip[0]>>4 == 6 && ip[6] == protoUDP:
		transport = ip[40:]
	}
	return len(transport) >= 8 &&
		uint32(binary.BigEndian.Uint16(transport)) == d.port.Load() &&
		binary.BigEndian.Uint16(transport[2:]) == to.Remote.Port() &&
		destination(ip) == to.Remote.Addr().WithZone("")
}
