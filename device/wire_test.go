package device

import (
	"bytes"
	"encoding/binary"
	"testing"

	"culvert/conn"
	"culvert/internal/checksum"
)

// Padding: to 16 bytes, never past the MTU; beyond the MTU as its last part
// would be.
func TestPaddedSize(t *testing.T) {
	for _, c := range []struct{ n, mtu, want int }{
		{0, 1420, 0}, {1, 1420, 16}, {16, 1420, 16}, {17, 1420, 32}, {28, 1420, 32},
		{1400, 1420, 1408}, {1407, 1420, 1408}, {1409, 1420, 1420}, {1416, 1420, 1420}, {1420, 1420, 1420},
		{1281, 1290, 1290}, {1290, 1290, 1290},
		{1421, 1420, 1436}, {2840, 1420, 2840}, {3000, 1420, 3000}, {3001, 1420, 3016},
		{100, 0, 112},
	} {
		if got := paddedSize(c.n, c.mtu); got != c.want {
			t.Errorf("a payload of %d at MTU %d is padded to %d, not %d", c.n, c.mtu, got, c.want)
		}
	}
}

// A run ends where sizes grow, after a shorter packet, where the traffic class
// changes and at the limits of GSO; nowhere else; and nothing is lost.
func TestCut(t *testing.T) {
	type p struct {
		n   int
		tos byte
	}
	repeat := func(n int, x p) (all []p) {
		for range n {
			all = append(all, x)
		}
		return all
	}
	for name, c := range map[string]struct {
		packets []p
		want    []int // packets per run
	}{
		"one":              {[]p{{100, 0}}, []int{1}},
		"equal":            {repeat(5, p{100, 0}), []int{5}},
		"shorter last":     {[]p{{100, 0}, {100, 0}, {50, 0}, {100, 0}}, []int{3, 1}},
		"longer":           {[]p{{50, 0}, {100, 0}, {100, 0}}, []int{1, 2}},
		"class":            {[]p{{100, 0}, {100, 2}, {100, 2}, {100, 0}}, []int{1, 2, 1}},
		"64 segments":      {repeat(130, p{100, 0}), []int{64, 64, 2}},
		"64 KiB":           {repeat(50, p{1420, 0}), []int{45, 5}},
		"shrinking to one": {[]p{{300, 0}, {200, 0}, {100, 0}}, []int{2, 1}},
	} {
		b := newOutBatch()
		for _, x := range c.packets {
			b.add(x.n, x.n, x.tos)
		}
		at := 0
		var got []int
		for _, r := range b.cut(&conn.Endpoint{}) {
			if &r.Data[0] != &b.mem[at] || len(r.Data) > maxRunBytes {
				t.Errorf("%s: a run of %d bytes is not where the last one ended", name, len(r.Data))
			}
			at += len(r.Data)
			got = append(got, packetsIn(&r))
		}
		if !equal(got, c.want) || at != b.n {
			t.Errorf("%s: runs of %v packets, not %v; %d of %d bytes", name, got, c.want, at, b.n)
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// RFC 6040, figure 4: what the inner field becomes, and what is dropped.
func TestECN(t *testing.T) {
	for _, version := range []byte{4, 6} {
		for inner := byte(0); inner < 4; inner++ {
			for outer := byte(0); outer < 4; outer++ {
				ip := make([]byte, 40)
				if version == 4 {
					ip[0], ip[1] = 0x45, 0xb8|inner
					binary.BigEndian.PutUint16(ip[2:], 40)
					binary.BigEndian.PutUint16(ip[10:], checksum.Sum(0).Add(ip[:20]).Checksum())
				} else {
					ip[0], ip[1] = 0x6b, 0x8a|inner<<4
				}
				before := bytes.Clone(ip)
				if got := outerTOS(ip); got != inner {
					t.Fatalf("v%d: outer field of inner %d is %d", version, inner, got)
				}
				kept := decapsulateECN(ip, 0x88|outer)
				want := inner
				switch {
				case outer == ecnCE && inner != ecnNotECT:
					want = ecnCE
				case outer == ecnECT1 && inner == ecnECT0:
					want = ecnECT1
				}
				if kept != (outer != ecnCE || inner != ecnNotECT) {
					t.Errorf("v%d: inner %d with outer %d kept: %v", version, inner, outer, kept)
				}
				if outerTOS(ip) != want {
					t.Errorf("v%d: inner %d with outer %d becomes %d, not %d", version, inner, outer, outerTOS(ip), want)
				}
				if version == 4 && checksum.Sum(0).Add(ip[:20]).Checksum() != 0 {
					t.Errorf("inner %d with outer %d: bad header checksum", inner, outer)
				}
				ip[1], ip[10], ip[11] = before[1], before[10], before[11]
				if !bytes.Equal(ip, before) {
					t.Errorf("v%d: more changed than the ECN field", version)
				}
			}
		}
	}
}

// ICMP errors have good checksums, quote the packet, go back to its sender, and
// are not made where the RFCs forbid them.
func TestUnreachable(t *testing.T) {
	four := make([]byte, 700)
	four[0], four[8], four[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(four[2:], 700)
	copy(four[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	out := unreachable4(four)[16:]
	if len(out) != 576 || out[9] != protoICMP || out[20] != 3 || out[21] != 1 {
		t.Fatalf("IPv4 error is % x...", out[:28])
	}
	if checksum.Sum(0).Add(out[:20]).Checksum() != 0 || checksum.Sum(0).Add(out[20:]).Checksum() != 0 {
		t.Error("bad checksums in the IPv4 error")
	}
	if !bytes.Equal(out[12:20], []byte{10, 0, 0, 2, 10, 0, 0, 1}) || !bytes.Equal(out[28:], four[:548]) {
		t.Error("the IPv4 error does not answer the packet")
	}
	six := make([]byte, 60)
	six[0], six[6] = 0x60, protoUDP
	binary.BigEndian.PutUint16(six[4:], 20)
	six[8], six[23], six[24], six[39] = 0xfd, 1, 0xfd, 2
	out = unreachable6(six)[16:]
	if len(out) != 108 || out[6] != protoICMPv6 || out[40] != 1 || out[41] != 3 {
		t.Fatalf("IPv6 error is % x...", out[:48])
	}
	if checksum.Pseudo(protoICMPv6, out[8:24], out[24:40], len(out)-40).Add(out[40:]).Checksum() != 0 {
		t.Error("bad checksum in the IPv6 error")
	}
	with := func(b []byte, change func([]byte)) []byte {
		b = bytes.Clone(b)
		change(b)
		return b
	}
	for name, b := range map[string][]byte{
		"a later fragment":   with(four, func(b []byte) { b[7] = 1 }),
		"to multicast":       with(four, func(b []byte) { b[16] = 224 }),
		"to broadcast":       with(four, func(b []byte) { copy(b[16:], []byte{255, 255, 255, 255}) }),
		"from unspecified":   with(four, func(b []byte) { clear(b[12:16]) }),
		"about an error":     with(four, func(b []byte) { b[9], b[20] = protoICMP, 3 }),
		"header cut short":   with(four, func(b []byte) { b[0] = 0x42 }),
		"IPv6 to multicast":  with(six, func(b []byte) { b[24] = 0xff }),
		"IPv6 from nowhere":  with(six, func(b []byte) { clear(b[8:24]) }),
		"about an ICMPv6 er": with(six, func(b []byte) { b[6], b[40] = protoICMPv6, 1 }),
	} {
		got := unreachable4
		if b[0]>>4 == 6 {
			got = unreachable6
		}
		if got(b) != nil {
			t.Errorf("an error %s is made", name)
		}
	}
	if unreachable4(with(four, func(b []byte) { b[9], b[20] = protoICMP, 8 })) == nil {
		t.Error("no error about an echo request")
	}
}
