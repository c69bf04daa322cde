package tun_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"culvert/tun"
	"culvert/tun/tuntest"
)

var (
	a4 = netip.MustParseAddrPort("10.1.2.3:40001")
	b4 = netip.MustParseAddrPort("192.0.2.77:443")
	a6 = netip.MustParseAddrPort("[fd00:1::3]:40001")
	b6 = netip.MustParseAddrPort("[2001:db8::77]:443")
)

// pattern is n bytes, all different from their neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// splitAll copies all segments of p.
func splitAll(t testing.TB, p *tun.Packet) [][]byte {
	t.Helper()
	var out [][]byte
	for i := range p.Segments() {
		dst := make([]byte, p.SegmentLen(i))
		if n := p.CopySegment(i, dst); n != len(dst) {
			t.Fatalf("segment %d: CopySegment says %d bytes, SegmentLen %d", i, n, len(dst))
		}
		out = append(out, dst)
	}
	return out
}

func mustVirtio(t testing.TB, b []byte) *tun.Packet {
	t.Helper()
	var p tun.Packet
	if !p.SetVirtio(b) {
		t.Fatal("SetVirtio refused a good packet")
	}
	return &p
}

func TestSplit(t *testing.T) {
	timestamps := []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	// A destination options header of 8 bytes, then TCP.
	extension := tuntest.IP{Extension: []byte{6, 0, 1, 4, 0, 0, 0, 0}, ExtensionType: 60}
	for _, c := range []struct {
		name      string
		packet    []byte
		size      int
		transport int
		udp       bool
	}{
		{"TCP over IPv4", tuntest.TCP(a4, b4, tuntest.TCPHeader{Seq: 0xfffffff0, Ack: 9, Options: timestamps}, pattern(5000)), 1348, 20, false},
		{"TCP over IPv6", tuntest.TCP(a6, b6, tuntest.TCPHeader{Seq: 7, Options: timestamps}, pattern(5000)), 1328, 40, false},
		{"FIN and PSH", tuntest.TCP(a4, b4, tuntest.TCPHeader{Flags: tuntest.ACK | tuntest.PSH | tuntest.FIN}, pattern(3000)), 1000, 20, false},
		{"CWR and ECE", tuntest.TCP(a4, b4, tuntest.TCPHeader{Flags: tuntest.ACK | tuntest.CWR | tuntest.ECE}, pattern(3000)), 1000, 20, false},
		{"identification wraps", tuntest.IP{ID: 0xffff, NoDF: true}.TCP(a4, b4, tuntest.TCPHeader{}, pattern(3000)), 1000, 20, false},
		{"IPv4 options", tuntest.IP{Options: []byte{1, 1, 1, 0}}.TCP(a4, b4, tuntest.TCPHeader{}, pattern(3000)), 1000, 24, false},
		{"IPv6 extension header", extension.TCP(a6, b6, tuntest.TCPHeader{}, pattern(3000)), 1000, 48, false},
		{"UDP over IPv4", tuntest.UDP(a4, b4, pattern(5001)), 1200, 20, true},
		{"UDP over IPv6", tuntest.UDP(a6, b6, pattern(5001)), 1200, 40, true},
		{"odd size", tuntest.UDP(a4, b4, pattern(999)), 33, 20, true},
		{"64 KiB", tuntest.TCP(a4, b4, tuntest.TCPHeader{}, pattern(65535-40)), 1380, 20, false},
		{"one byte each", tuntest.TCP(a6, b6, tuntest.TCPHeader{}, pattern(50)), 1, 40, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := slowSplit(c.packet, c.transport, c.size, c.udp)
			p := mustVirtio(t, tuntest.Super(c.packet, c.size, c.transport))
			if p.Segments() != len(want) {
				t.Fatalf("%d segments, want %d", p.Segments(), len(want))
			}
			if len(p.Bytes()) != len(c.packet) {
				t.Errorf("Bytes has %d bytes, want %d", len(p.Bytes()), len(c.packet))
			}
			compare(t, splitAll(t, p), want)
		})
	}
}

// compare wants equal packets.
func compare(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d of %d:\n got %x\nwant %x", i, len(want), got[i][:min(80, len(got[i]))], want[i][:min(80, len(want[i]))])
		}
	}
}

// Behind a routing header the pseudo-header has the last address of the route,
// not the one in the IPv6 header: only the kernel's partial sum knows.
func TestSplitTrustsThePartialSum(t *testing.T) {
	packet := tuntest.TCP(a6, b6, tuntest.TCPHeader{}, pattern(3000))
	super := tuntest.Super(packet, 1000, 0)
	hop := netip.MustParseAddr("2001:db8::99").As16()
	copy(super[tun.VirtioLen+24:], hop[:])
	for i, segment := range splitAll(t, mustVirtio(t, super)) {
		final := b6.Addr().As16()
		copy(segment[24:], final[:])
		if !dissect(segment).good {
			t.Errorf("segment %d: bad checksum for the final address", i)
		}
	}
}

// A card's work on a packet that is not to be split: only the checksum.
func TestPartialChecksum(t *testing.T) {
	for _, packet := range [][]byte{
		tuntest.TCP(a4, b4, tuntest.TCPHeader{}, pattern(101)),
		tuntest.UDP(a6, b6, pattern(100)),
		tuntest.UDP(a4, b4, nil),
	} {
		whole := tuntest.Super(packet, 2000, 0)
		one := mustVirtio(t, append([]byte{}, whole...)) // a super-packet of one segment
		compare(t, splitAll(t, one), [][]byte{packet})

		whole[1], whole[4], whole[5] = 0, 0, 0 // no segmentation
		p := mustVirtio(t, whole)
		compare(t, splitAll(t, p), [][]byte{packet})
		if !bytes.Equal(p.Bytes(), packet) {
			t.Error("Bytes of a single packet is not the packet")
		}
	}
}

// The sum of a datagram may come out as 0, which must go as 0xffff.
func TestUDPChecksumIsNeverZero(t *testing.T) {
	payload := make([]byte, 40)
	packet := tuntest.UDP(a4, b4, payload)
	sum := binary.BigEndian.Uint16(packet[26:])
	binary.BigEndian.PutUint16(payload, sum) // makes the sum 0xffff, its complement 0
	packet = tuntest.UDP(a4, b4, payload)
	if got := binary.BigEndian.Uint16(packet[26:]); got != 0xffff {
		t.Fatalf("the test's own packet has checksum %#04x, want 0xffff", got)
	}
	whole := tuntest.Super(packet, 2000, 0)
	whole[1] = 0
	compare(t, splitAll(t, mustVirtio(t, whole)), [][]byte{packet})
	twice := tuntest.Super(tuntest.UDP(a4, b4, append(payload, payload...)), 40, 0)
	// The length of the datagram counts as before, so both segments sum to 0;
	// the second has the identification 1, which is no part of the sum.
	for i, segment := range splitAll(t, mustVirtio(t, twice)) {
		if got := binary.BigEndian.Uint16(segment[26:]); got != 0xffff {
			t.Errorf("segment %d has checksum %#04x, want 0xffff", i, got)
		}
	}
}

func TestMalformed(t *testing.T) {
	v4 := tuntest.Super(tuntest.TCP(a4, b4, tuntest.TCPHeader{}, pattern(3000)), 1000, 0)
	u6 := tuntest.Super(tuntest.UDP(a6, b6, pattern(3000)), 1000, 0)
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint16(b[at:], v); return b }
	}
	put8 := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for _, c := range []struct {
		name   string
		of     []byte
		change func([]byte) []byte
	}{
		{"empty", v4, cut(0)},
		{"half a virtio header", v4, cut(9)},
		{"no packet", v4, cut(10)},
		{"19 bytes of IPv4", v4, cut(29)},
		{"39 bytes of IPv6", u6, cut(49)},
		{"IP version 5", v4, put8(10, 0x55)},
		{"unknown gso type", v4, put8(1, 3)},
		{"TCPv6 type on IPv4", v4, put8(1, 4)},
		{"TCPv4 type on IPv6", u6, put8(1, 1)},
		{"no partial checksum", v4, put8(0, 0)},
		{"gso size 0", v4, put16(4, 0)},
		{"transport before the end of the IP header", v4, put16(6, 16)},
		{"transport behind the end of the IP header", v4, put16(6, 24)},
		{"transport inside the IPv6 header", u6, put16(6, 39)},
		{"transport at the very end", u6, put16(6, 3048)},
		{"transport far outside", u6, put16(6, 65535)},
		{"checksum field elsewhere", v4, put16(8, 17)},
		{"checksum field far outside", v4, put16(8, 65535)},
		{"IPv4 header of 4 words", v4, put8(10, 0x44)},
		{"TCP header of 4 words", v4, put8(10+20+12, 0x40)},
		{"TCP header longer than the packet", v4[:10+20+30], put8(10+20+12, 0xf0)},
		{"half a TCP header", v4, cut(10 + 20 + 19)},
		{"half a UDP header", u6, cut(10 + 40 + 7)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := *mustVirtio(t, append([]byte{}, v4...))
			if p.SetVirtio(c.change(append([]byte{}, c.of...))) {
				t.Errorf("accepted: %d segments", p.Segments())
			}
			if p.Segments() != 1 || len(p.Bytes()) != 0 {
				t.Error("a refused packet leaves something behind")
			}
		})
	}
	single := []struct{ start, offset uint16 }{{19, 0}, {20, 2999 + 20 + 20}, {65535, 65535}, {3038, 1}}
	for _, c := range single {
		b := append([]byte{}, v4...)
		b[1] = 0
		b = put16(8, c.offset)(put16(6, c.start)(b))
		var p tun.Packet
		if p.SetVirtio(b) {
			t.Errorf("single packet with its checksum at %d+%d of %d accepted", c.start, c.offset, len(b)-10)
		}
	}
}

// FuzzSplit: no virtio header and packet, however hostile, makes a panic or a
// segment out of proportion; what is split is what the slow twin makes of it.
func FuzzSplit(f *testing.F) {
	for _, p := range [][]byte{
		tuntest.TCP(a4, b4, tuntest.TCPHeader{Flags: tuntest.ACK | tuntest.CWR | tuntest.PSH}, pattern(300)),
		tuntest.TCP(a6, b6, tuntest.TCPHeader{Options: []byte{1, 1, 1, 1}}, pattern(300)),
		tuntest.UDP(a4, b4, pattern(300)),
		tuntest.UDP(a6, b6, pattern(300)),
	} {
		f.Add(tuntest.Super(p, 100, 0))
	}
	f.Add(append(make([]byte, 10), tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p tun.Packet
		original := append([]byte{}, b...)
		if !p.SetVirtio(b) {
			return
		}
		if v := p.Bytes()[0] >> 4; v != 4 && v != 6 || len(p.Bytes()) < 20 || v == 6 && len(p.Bytes()) < 40 {
			t.Fatalf("Bytes breaks its promise: %x", p.Bytes())
		}
		segments := splitAll(t, &p)
		if len(segments) == 1 {
			return
		}
		start := int(binary.NativeEndian.Uint16(original[6:]))
		size := int(binary.NativeEndian.Uint16(original[4:]))
		udp := original[1]&^0x80 == 5
		for i, want := range slowSplit(original[10:], start, size, udp) {
			got := segments[i]
			// The partial sum is what it is: compare all but the checksums,
			// and see that the segment's fits the partial sum.
			field := start + 16
			if udp {
				field = start + 6
			}
			seed := binary.BigEndian.Uint16(original[10+field:])
			sum := slowSum(word(seed), word(^uint16(len(original)-10-start)), word(uint16(len(got)-start)), got[start:])
			if sum != 0xffff {
				t.Fatalf("segment %d: checksum adds up to %#04x", i, sum)
			}
			copy(got[field:field+2], want[field:])
			if original[1]&0x80 == 0 && !udp {
				got[start+13] &^= 0x80
				want[start+13] &^= 0x80
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("segment %d:\n got %x\nwant %x", i, got, want)
			}
		}
	})
}

func word(v uint16) []byte { return []byte{byte(v >> 8), byte(v)} }

func BenchmarkSplit(b *testing.B) {
	for _, c := range []struct {
		name string
		p    []byte
	}{
		{"TCP4-64KiB", tuntest.Super(tuntest.TCP(a4, b4, tuntest.TCPHeader{}, pattern(65535-40)), 1380, 0)},
		{"UDP6-60x1200", tuntest.Super(tuntest.UDP(a6, b6, pattern(60*1200-8000)), 1200, 0)},
		{"single-1400", append(make([]byte, 10), tuntest.UDP(a4, b4, pattern(1372))...)},
		{"single-64", append(make([]byte, 10), tuntest.UDP(a4, b4, pattern(36))...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]byte, 2048)
			var p tun.Packet
			b.SetBytes(int64(len(c.p) - 10))
			b.ReportAllocs()
			for b.Loop() {
				if !p.SetVirtio(c.p) {
					b.Fatal("refused")
				}
				for i := range p.Segments() {
					p.CopySegment(i, dst)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.Segments()), "ns/segment")
		})
	}
}

func ExamplePacket() {
	super := tuntest.Super(tuntest.UDP(a4, b4, make([]byte, 3000)), 1200, 0)
	var p tun.Packet
	if p.SetVirtio(super) {
		for i := range p.Segments() {
			fmt.Println(p.CopySegment(i, make([]byte, p.SegmentLen(i))))
		}
	}
	// Output:
	// 1228
	// 1228
	// 628
}
