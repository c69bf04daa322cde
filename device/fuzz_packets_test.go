package device

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"culvert/noise"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// FuzzPackets lets whatever an interface may give come to a device: packets and
// super-packets with virtio-net headers, whole or changed in places, with and
// without a session. Its laws:
//
//   - a packet goes to the peer that has its destination, each segment in a datagram
//     of its own, padded to 16 bytes but not past the MTU, with the traffic class that
//     RFC 6040 wants; or it is dropped once, with a name, and its sender hears of it at
//     most once, in a packet with good checksums that is addressed to it;
//   - what an interface would not give goes nowhere;
//   - at the other end exactly those segments come out that wantInner lets out;
//   - afterwards the tunnel works, and nothing is left (host.close).
//
// A script is records as those of FuzzDatagrams; see pkOps.
func FuzzPackets(f *testing.F) {
	for _, s := range pkSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4<<10 {
			t.Skip("long")
		}
		synctest.Test(t, func(t *testing.T) {
			w := &pkWire{pair: newPair(t, Options{}), t: t}
			w.connect()
			w.play(script)
		})
	})
}

// pkWire is a's interface, the wire, and b's.
type pkWire struct {
	*pair
	t *testing.T
}

// pkOps are what can come, by number; arg is the record's traffic class.
var pkOps = [...]func(w *pkWire, arg byte, b []byte){
	func(w *pkWire, _ byte, b []byte) { w.packet(false, b) },
	func(w *pkWire, _ byte, b []byte) { w.packet(true, b) },
	func(w *pkWire, arg byte, b []byte) {
		w.packet(false, changed(w.flow(arg&1 == 1, false, int(arg)*6), b))
	},
	func(w *pkWire, arg byte, b []byte) { w.super(arg, b, false) },
	func(w *pkWire, arg byte, b []byte) { w.super(arg, b, true) },
	func(w *pkWire, arg byte, _ []byte) { sleep(time.Duration(arg) * time.Second) },
}

func (w *pkWire) play(script []byte) {
	for len(script) >= 3 {
		op, arg, n := script[0], script[1], int(script[2])
		script = script[3:]
		n = min(n, len(script))
		pkOps[int(op)%len(pkOps)](w, arg, script[:n])
		script = script[n:]
	}
	x := w.a.packet4(w.b, "after all")
	w.a.send(x)
	w.b.wantReceived(x)
}

// flow is a packet of a to b with n bytes of payload.
func (w *pkWire) flow(six, tcp bool, n int) []byte {
	src, dst := w.a.inner4, w.b.inner4
	if six {
		src, dst = w.a.inner6, w.b.inner6
	}
	from, to := netip.AddrPortFrom(src, 1000), netip.AddrPortFrom(dst, 2000)
	if tcp {
		return tuntest.TCP(from, to, tuntest.TCPHeader{Flags: tuntest.ACK | tuntest.PSH}, make([]byte, n))
	}
	return tuntest.UDP(from, to, make([]byte, n))
}

// super is a super-packet, changed in places.
func (w *pkWire) super(arg byte, b []byte, tcp bool) {
	size := 200 + int(arg)*5
	w.packet(true, changed(tuntest.Super(w.flow(arg&1 == 1, tcp, int(arg)*128), size, 0), b))
}

// packet is one read of the interface.
func (w *pkWire) packet(virtio bool, b []byte) {
	w.t.Helper()
	segments := segmentsOf(virtio, b)
	drops := w.drops()
	w.lan.reset()
	if virtio {
		w.a.tun.SendVirtio(b)
	} else {
		w.a.send(b)
	}
	synctest.Wait()
	heard, arrived, sent := w.a.received(), w.b.received(), w.sent()
	mine := w.drops() - drops
	switch {
	case len(segments) == 0:
		if mine != 0 || len(heard)+len(arrived)+len(sent) != 0 {
			w.t.Fatalf("% x is no packet, and leads to %d drops, %d errors, %d datagrams", b, mine, len(heard), len(sent))
		}
	case !w.routed(segments[0]):
		if mine != uint64(len(segments)) || len(sent) != 0 || len(heard) > 1 {
			w.t.Fatalf("% x goes nowhere, and leads to %d drops, %d errors, %d datagrams", b, mine, len(heard), len(sent))
		}
		for _, e := range heard {
			w.wantError(e, segments[0])
		}
	default:
		w.wantSent(segments, sent, len(heard))
		w.wantArrived(segments, arrived, mine)
	}
}

// segmentsOf are the packets that one read gives; that super-packets are split as
// they should be is FuzzSplit's, in package tun.
func segmentsOf(virtio bool, b []byte) (all [][]byte) {
	var p tun.Packet
	b = bytes.Clone(b)
	switch {
	case virtio:
		p.SetVirtio(b)
	case len(b) >= 20 && b[0]>>4 == 4, len(b) >= 40 && b[0]>>4 == 6:
		p.SetBytes(b)
	}
	for i := range p.Segments() {
		if n := p.SegmentLen(i); n > 0 {
			s := make([]byte, n)
			p.CopySegment(i, s)
			all = append(all, s)
		}
	}
	return all
}

// drops are those of both hosts.
func (w *pkWire) drops() (n uint64) {
	for r := notDropped; r < numReasons; r++ {
		n += w.a.drops(r) + w.b.drops(r)
	}
	return n
}

// sent are the datagrams with data that a has sent.
func (w *pkWire) sent() (all []datagram) {
	for _, d := range w.lan.reset() {
		if d.from == w.a.outer && noise.Classify(d.data) == noise.TypeTransport && len(d.data) > noise.KeepaliveSize {
			all = append(all, d)
		}
	}
	return all
}

// routed reports whether b has the destination.
func (w *pkWire) routed(ip []byte) bool {
	if ip[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(ip[16:20])) == w.b.inner4
	}
	return netip.AddrFrom16([16]byte(ip[24:40])) == w.b.inner6
}

// wantSent wants a datagram for each segment.
func (w *pkWire) wantSent(segments [][]byte, sent []datagram, errors int) {
	w.t.Helper()
	if len(sent) != len(segments) || errors > 0 {
		w.t.Fatalf("%d segments lead to %d datagrams and %d errors", len(segments), len(sent), errors)
	}
	for i, s := range segments {
		size := 32 + paddedLen(len(s))
		ecn := s[1] & 3
		if s[0]>>4 == 6 {
			ecn = s[1] >> 4 & 3
		}
		if d := sent[i]; len(d.data) != size || d.to != w.b.outer || d.tos != ecn {
			w.t.Fatalf("segment %d of %d bytes leads to a datagram of %d bytes (want %d) to %v with class %#x (want %#x)",
				i, len(s), len(d.data), size, d.to, d.tos, ecn)
		}
	}
}

// paddedLen is how long a packet of n bytes is with its padding: to 16 bytes, but not
// past the MTU of 1420; beyond that as packets of whole MTUs and a rest would be.
func paddedLen(n int) int {
	whole := 0
	if n > 1420 {
		whole = n / 1420 * 1420
	}
	return min(whole+(n-whole+15)/16*16, whole+1420)
}

// wantArrived wants those that b lets out, and the others dropped.
func (w *pkWire) wantArrived(segments, arrived [][]byte, drops uint64) {
	w.t.Helper()
	var want [][]byte
	for _, s := range segments {
		padded := append(bytes.Clone(s), make([]byte, paddedLen(len(s))-len(s))...)
		if out, why := wantInner(w.a, padded, 0); why == notDropped {
			want = append(want, out)
		}
	}
	if len(arrived) != len(want) || drops != uint64(len(segments)-len(want)) {
		w.t.Fatalf("of %d segments %d arrive, not %d; %d drops", len(segments), len(arrived), len(want), drops)
	}
	for i := range want {
		if !sameButChecksum(arrived[i], want[i]) {
			w.t.Fatalf("segment %d arrives as\n% x, want\n% x", i, arrived[i], want[i])
		}
	}
}

// wantError wants an ICMP error to the sender of ip, with good checksums.
func (w *pkWire) wantError(e, ip []byte) {
	w.t.Helper()
	add := func(sum uint32, b []byte) uint32 {
		for i, x := range b {
			sum += uint32(x) << (8 * (1 - i&1))
		}
		return sum
	}
	fold := func(sum uint32) uint16 {
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		return uint16(sum)
	}
	var bad bool
	switch {
	case ip[0]>>4 != e[0]>>4:
		bad = true
	case e[0]>>4 == 4:
		bad = ip[0]&15 < 5 || len(e) > 576 || !bytes.Equal(e[16:20], ip[12:16]) || e[9] != 1 || e[20] != 3 || e[21] != 1 ||
			fold(add(0, e[:20])) != 0xffff || fold(add(0, e[20:])) != 0xffff
	default:
		pseudo := add(uint32(len(e)-40)+58, e[8:40])
		bad = len(e) > 1280 || !bytes.Equal(e[24:40], ip[8:24]) || e[6] != 58 || e[40] != 1 || e[41] != 3 || fold(add(pseudo, e[40:])) != 0xffff
	}
	if bad {
		w.t.Fatalf("% x is answered by % x", ip, e)
	}
}

// pkSeeds are scripts that take each way through the outbound pipe.
func pkSeeds() [][]byte {
	rec := func(op, arg byte, b ...byte) []byte { return append([]byte{op, arg, byte(len(b))}, b...) }
	raw := make([]byte, 60)
	raw[0] = 0x45
	return [][]byte{
		rec(0, 0), rec(0, 0, raw...), rec(0, 0, bytes.Repeat([]byte{0x60}, 50)...), rec(1, 0, append(make([]byte, 10), raw...)...), rec(1, 0, raw...),
		rec(2, 0), rec(2, 1), rec(2, 234), rec(2, 232), rec(2, 20, 0, 1, 19, 9), rec(2, 235), rec(2, 255), rec(2, 20, 1, 3), rec(2, 21, 1, 0x30), rec(2, 20, 19, 9), rec(2, 21, 39, 9),
		rec(2, 20, 15, 9), rec(2, 20, 3, 9), rec(2, 20, 9, 16, 19, 7), rec(2, 20, 0, 5, 19, 7), rec(2, 20, 16, 0xea), rec(2, 21, 24, 2),
		rec(3, 0), rec(3, 20), rec(3, 21), rec(3, 254), rec(3, 255), rec(4, 20), rec(4, 21), rec(4, 254), rec(4, 255),
		rec(3, 20, 1, 5), rec(3, 20, 4, 200, 5, 1), rec(4, 20, 6, 20), rec(4, 21, 8, 3), rec(4, 21, 0, 1), rec(3, 21, 39, 1), rec(4, 40, 29, 4),
		bytes.Join([][]byte{rec(5, 200), rec(2, 50), rec(5, 1), rec(4, 255), rec(5, 190), rec(3, 255)}, nil),
		bytes.Join([][]byte{rec(5, 130), rec(2, 50), rec(2, 50, 19, 1), rec(2, 51)}, nil),
	}
}
