package device

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/session"
	"culvert/noise"
)

// FuzzDatagrams lets whatever may come from the network come to a device with a
// session: junk, messages for its keys that do not authenticate, and what its peer
// itself, who has the keys, could send: any plaintext, handshakes changed in
// places, replays. Its laws:
//
//   - what is not authentic is dropped once, with a name, and changes neither the
//     interface, nor the counters, nor where the peer is;
//   - of what is authentic exactly the packets come out that wantInner, an
//     independent reading of the rules, lets out; the rest is dropped as it says;
//   - an initiation that was changed is not answered;
//   - afterwards the tunnel works, both ways, and nothing is left of memory, secrets,
//     indices and goroutines (host.close).
//
// A script is records of an operation, a traffic class, a length and as many bytes;
// see dgOps.
func FuzzDatagrams(f *testing.F) {
	for _, s := range dgSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4<<10 {
			t.Skip("long")
		}
		synctest.Test(t, func(t *testing.T) { newDgWire(t).play(script) })
	})
}

// dgWire is the wire between the device that is fuzzed, a, and its peer b.
type dgWire struct {
	*pair
	t      *testing.T
	forger *forger // makes handshakes as b
	mu     sync.Mutex
	seen   [][]byte    // what went to a; mu guards it
	hold   atomic.Bool // b's handshake messages do not arrive
}

func newDgWire(t *testing.T) *dgWire {
	w := &dgWire{pair: newPair(t, Options{}), t: t}
	w.connect()
	w.forger = newForger(t, w.b.key, w.a)
	w.lan.setFate(func(d *datagram) {
		if d.to != w.a.outer {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.seen) < 64 {
			w.seen = append(w.seen, bytes.Clone(d.data))
		}
		d.lost = w.hold.Load() && noise.Classify(d.data) != noise.TypeTransport
	})
	return w
}

// copied is what has gone to a so far.
func (w *dgWire) copied() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// dgOps are what can come, by number.
var dgOps = [...]func(w *dgWire, tos byte, b []byte){
	func(w *dgWire, tos byte, b []byte) { w.junk(nowhere, tos, b) },
	func(w *dgWire, tos byte, b []byte) { w.junk(w.b.outer, tos, b) },
	(*dgWire).unauthentic,
	func(w *dgWire, tos byte, b []byte) { w.sealed(tos, b) },
	func(w *dgWire, tos byte, b []byte) { w.sealed(tos, changed(w.b.packet4(w.a, "four"), b)) },
	func(w *dgWire, tos byte, b []byte) { w.sealed(tos, changed(w.b.packet6(w.a, "six"), b)) },
	func(w *dgWire, tos byte, b []byte) { w.initiation(b, false) },
	func(w *dgWire, tos byte, b []byte) { w.initiation(b, true) },
	(*dgWire).replay,
	(*dgWire).sleep,
	(*dgWire).response,
	func(w *dgWire, tos byte, b []byte) { w.a.underLoad() },
}

func (w *dgWire) play(script []byte) {
	for len(script) >= 3 {
		op, tos, n := script[0], script[1], int(script[2])
		script = script[3:]
		n = min(n, len(script))
		dgOps[int(op)%len(dgOps)](w, tos, script[:n])
		script = script[n:]
	}
	w.heal()
}

// changed is packet with bytes changed: b is places and what they are XORed with.
func changed(packet, b []byte) []byte {
	packet = bytes.Clone(packet)
	for ; len(b) >= 2; b = b[2:] {
		packet[int(b[0])%len(packet)] ^= b[1]
	}
	return packet
}

// effect is what a datagram has changed.
type effect struct {
	out   [][]byte
	drops uint64
	rx    uint64
	moved bool
}

// come has data come to a and tells what that has changed.
func (w *dgWire) come(from netip.AddrPort, tos byte, data []byte) (e effect) {
	p := w.a.peer(w.b)
	drops, rx, at := w.dropped(), p.rx.Load(), p.endpoint.Load()
	to := w.a.outer
	if from.Addr().Is6() {
		to = netip.AddrPortFrom(w.a.net.Addrs()[1], to.Port())
	}
	w.lan.inject(from, to, tos, data)
	e.out = w.a.received()
	e.drops, e.rx, e.moved = w.dropped()-drops, p.rx.Load()-rx, p.endpoint.Load().Remote != at.Remote
	return e
}

func (w *dgWire) dropped() (n uint64) {
	for r := notDropped; r < numReasons; r++ {
		n += w.a.drops(r)
	}
	return n
}

// junk is nothing that authenticates.
func (w *dgWire) junk(from netip.AddrPort, tos byte, b []byte) {
	w.t.Helper()
	if e := w.come(from, tos, b); len(e.out) > 0 || e.drops != 1 || e.rx != 0 || e.moved {
		w.t.Fatalf("what is not authentic, % x, changes %+v", b, e)
	}
}

// unauthentic is for a key that a has, and not made with it.
func (w *dgWire) unauthentic(tos byte, b []byte) {
	k := w.b.peer(w.a).sendKey.Load()
	if k == nil {
		return
	}
	msg := append([]byte{4, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, k.keys.RemoteIndex)...)
	w.junk(nowhere, tos, append(msg, b...))
}

// sealed is what b's key says it is.
func (w *dgWire) sealed(tos byte, plaintext []byte) {
	w.t.Helper()
	k := w.b.peer(w.a).sendKey.Load()
	if k == nil || w.a.d.clock.Now() >= k.rejectAt || w.a.d.index.get(k.keys.RemoteIndex) == nil {
		w.dead(tos, plaintext)
		return
	}
	from := w.b.outer
	if tos&0x80 != 0 { // b moves
		from = netip.AddrPortFrom(w.b.net.Addrs()[1], from.Port())
	}
	msg := w.b.sealed(w.a, plaintext)
	want, why := wantInner(w.b, plaintext, tos)
	of := w.a.drops(why)
	w.mu.Lock()
	w.seen = append(w.seen, bytes.Clone(msg))
	w.mu.Unlock()
	w.hold.Store(true) // an old key is renewed, and the response would count
	e := w.come(from, tos, msg)
	w.hold.Store(false)
	if w.a.peer(w.b).endpoint.Load().Remote != from {
		w.t.Fatal("the endpoint does not follow")
	}
	switch {
	case why != notDropped:
		if len(e.out) > 0 || e.drops != 1 || e.rx != 0 || w.a.drops(why) != of+1 {
			w.t.Fatalf("% x with class %#x should be dropped as %v: %+v; %s", plaintext, tos, why, e, w.a.allDrops())
		}
	case e.drops != 0 || e.rx != uint64(len(msg)):
		w.t.Fatalf("% x with class %#x should arrive: %+v; %s", plaintext, tos, e, w.a.allDrops())
	case len(plaintext) == 0:
		if len(e.out) != 0 {
			w.t.Fatalf("a keepalive comes out as %x", e.out)
		}
	case len(e.out) != 1 || !sameButChecksum(e.out[0], want):
		w.t.Fatalf("% x with class %#x comes out as\n% x, want\n% x", plaintext, tos, e.out, want)
	}
}

// dead is what b's keys say it is, but they are too old: it is as if they did not.
func (w *dgWire) dead(tos byte, plaintext []byte) {
	w.t.Helper()
	var keys []*keypair
	w.b.d.do(func() { keys = slices.Clone(w.b.peer(w.a).keypairs()) }) // they are the controller's
	for _, k := range keys {
		if k == nil || w.a.d.clock.Now() < k.rejectAt || !k.acquire() {
			continue
		}
		counter := k.next.Add(1) - 1
		msg := make([]byte, noise.TransportHeaderSize+len(plaintext)+noise.TagSize)
		noise.PutTransportHeader(msg, k.keys.RemoteIndex, counter)
		copy(msg[noise.TransportHeaderSize:], plaintext)
		k.keys.Send.Seal(msg[noise.TransportHeaderSize:], counter)
		k.release()
		w.junk(w.b.outer, tos, msg)
	}
}

// wantInner is what comes out of the interface for a plaintext of from, or why it
// does not (paper, section 5.4.6; RFC 6040, figure 4). A keepalive is empty.
func wantInner(from *host, plaintext []byte, tos byte) ([]byte, Reason) {
	if len(plaintext) == 0 {
		return nil, notDropped
	}
	p := bytes.Clone(plaintext)
	var source netip.Addr
	var n int
	var inner byte
	var put func(ecn byte)
	switch {
	case p[0]>>4 == 4 && len(p) >= 20 && p[0]&15 >= 5:
		n, source = int(p[2])<<8|int(p[3]), netip.AddrFrom4([4]byte(p[12:16]))
		inner, put = p[1]&3, func(ecn byte) { p[1] = p[1]&^3 | ecn }
		if n < 20 {
			return nil, DropBadInner
		}
	case p[0]>>4 == 6 && len(p) >= 40:
		n, source = 40+(int(p[4])<<8|int(p[5])), netip.AddrFrom16([16]byte(p[8:24]))
		inner, put = p[1]>>4&3, func(ecn byte) { p[1] = p[1]&^0x30 | ecn<<4 }
	default:
		return nil, DropBadInner
	}
	switch outer := tos & 3; {
	case n > len(p):
		return nil, DropBadInner
	case source != from.inner4 && source != from.inner6:
		return nil, DropBadSource
	case outer == 3 && inner == 0:
		return nil, DropCongested
	case outer == 3:
		put(3)
	case outer == 1 && inner == 2:
		put(1)
	}
	return p[:n], notDropped
}

// sameButChecksum compares packets, an IPv4 header's checksum aside.
func sameButChecksum(a, b []byte) bool {
	a, b = bytes.Clone(a), bytes.Clone(b)
	if len(a) == len(b) && len(a) >= 20 && a[0]>>4 == 4 {
		a[10], a[11], b[10], b[11] = 0, 0, 0, 0
	}
	return bytes.Equal(a, b)
}

// initiation is one of b's that was changed, before or after its MACs were put on.
func (w *dgWire) initiation(b []byte, before bool) {
	w.t.Helper()
	good := w.forger.initiation()
	msg := changed(good, b)
	if before && noise.Classify(msg) == noise.TypeInitiation {
		w.forger.seal(msg)
	}
	authentic := bytes.Equal(msg[:4], good[:4]) && bytes.Equal(msg[8:116], good[8:116])
	if !before {
		authentic = bytes.Equal(msg[:132], good[:132])
	}
	e := w.come(w.b.outer, 0, msg)
	accepted := e.rx == noise.InitiationSize
	if len(e.out) > 0 || accepted && !authentic || !accepted && (e.drops != 1 || e.rx != 0) || accepted && e.drops != 0 {
		w.t.Fatalf("an initiation, changed by % x, changes %+v; %s", b, e, w.a.allDrops())
	}
}

// replay is a message that came before, from somewhere else.
func (w *dgWire) replay(tos byte, b []byte) {
	w.t.Helper()
	seen := w.copied()
	if len(seen) == 0 || len(b) == 0 {
		return
	}
	msg := seen[int(b[0])%len(seen)]
	if noise.Classify(msg) == noise.TypeTransport { // handshakes that were held back may be new
		w.junk(nowhere, tos, msg)
	}
}

func (w *dgWire) sleep(_ byte, b []byte) {
	if len(b) > 0 {
		sleep(time.Duration(b[0]) * time.Duration(b[0]) * 5 * time.Millisecond)
	}
}

// response has a begin a handshake, and changes what b answers: a response, or under
// load a cookie reply.
func (w *dgWire) response(load byte, b []byte) {
	w.t.Helper()
	if load&1 == 1 {
		w.b.underLoad()
	}
	w.hold.Store(true)
	before := len(w.copied())
	w.a.d.needKeys(w.a.peer(w.b), session.ConfigChanged)
	synctest.Wait()
	w.hold.Store(false)
	seen := w.copied()
	for _, good := range seen[min(before, len(seen)):] {
		if noise.Classify(good) == noise.TypeTransport {
			continue
		}
		msg := changed(good, b)
		// mac2 is only looked at under load.
		if n := len(good); !bytes.Equal(msg[:n-16], good[:n-16]) || n == noise.CookieReplySize && !bytes.Equal(msg, good) {
			w.junk(w.b.outer, 0, msg)
		}
		if e := w.come(w.b.outer, 0, good); len(e.out) > 0 || e.drops > 1 {
			w.t.Fatalf("the true answer, after one that was changed by % x: %+v; %s", b, e, w.a.allDrops())
		}
	}
}

// heal waits until all that was is over, and wants the tunnel to work.
func (w *dgWire) heal() {
	w.t.Helper()
	sleep(10 * time.Minute)
	for _, h := range []*host{w.a, w.b} {
		h.received()
	}
	x, y := w.a.packet4(w.b, "after all"), w.b.packet6(w.a, "well")
	w.a.send(x)
	w.b.wantReceived(x)
	w.b.send(y)
	w.a.wantReceived(y)
}

// dgSeeds are scripts that take each way through the inbound pipe.
func dgSeeds() [][]byte {
	rec := func(op, tos byte, b ...byte) []byte { return append([]byte{op, tos, byte(len(b))}, b...) }
	zeros := make([]byte, 148)
	transport := append([]byte{4, 0, 0, 0}, zeros[:60]...)
	four := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1} // whole headers and no more
	six := append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64, 0xfd}, zeros[:31]...)
	six[23], six[24], six[39] = 2, 0xfd, 1
	return [][]byte{
		rec(0, 0), rec(0, 0, transport...), rec(1, 0, append([]byte{1}, zeros[:147]...)...),
		rec(1, 0, append([]byte{2}, zeros[:91]...)...), rec(1, 0, append([]byte{3}, zeros[:63]...)...),
		rec(2, 0, zeros[:40]...), rec(2, 0, bytes.Repeat([]byte{255}, 40)...),
		rec(3, 0, four...), rec(3, 0, four[:19]...), rec(3, 0, six...), rec(3, 0, six[:39]...), rec(4, 0, 3, 42), rec(4, 0, 3, 32), rec(4, 0, 3, 51),
		rec(3, 0), rec(3, 0, zeros[:16]...), rec(3, 0, 0x45), rec(3, 0, bytes.Repeat([]byte{0x60}, 40)...),
		rec(4, 0), rec(4, 3), rec(4, 3, 1, 2), rec(4, 1, 1, 2), rec(4, 0, 15, 9), rec(4, 0, 3, 200), rec(4, 0, 2, 255, 3, 255), rec(4, 0, 0, 1),
		rec(5, 0), rec(5, 3), rec(5, 3, 1, 0x20), rec(5, 1, 1, 0x20), rec(5, 0, 23, 9), rec(5, 0, 4, 255, 5, 255), rec(5, 0, 5, 1),
		rec(6, 0), rec(6, 0, 40, 1), rec(7, 0), rec(7, 0, 4, 1), rec(7, 0, 20, 1), rec(7, 0, 60, 1), rec(7, 0, 100, 1), rec(7, 0, 8, 0),
		bytes.Join([][]byte{rec(4, 0), rec(8, 0, 0), rec(9, 0, 20), rec(8, 0, 0)}, nil),
		bytes.Join([][]byte{rec(9, 0, 40), rec(10, 0), rec(10, 0, 9, 9), rec(9, 0, 40), rec(10, 0, 14, 1)}, nil),
		bytes.Join([][]byte{rec(9, 0, 40), rec(10, 1), rec(9, 0, 40), rec(10, 1, 30, 1), rec(9, 0, 40), rec(10, 1, 5, 1)}, nil),
		rec(4, 0x80), rec(5, 0x80), bytes.Join([][]byte{rec(6, 0), rec(6, 0), rec(4, 0x80), rec(9, 0, 3), rec(7, 0)}, nil),
		bytes.Join([][]byte{rec(9, 0, 189), rec(4, 0), rec(9, 0, 20), rec(4, 0), rec(9, 0, 100), rec(5, 0), rec(3, 0)}, nil),
		bytes.Join([][]byte{rec(11, 0), rec(6, 0), rec(6, 0, 140, 1), rec(7, 0)}, nil),
		bytes.Join([][]byte{rec(9, 0, 190), rec(4, 0), rec(9, 0, 250), rec(5, 0), rec(2, 0, zeros[:30]...)}, nil),
	}
}
