package tun_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"culvert/tun"
	"culvert/tun/tuntest"
)

// withHeadroom copies packets behind headroom full of rubbish: whoever forgets
// to write a virtio header writes a stale one.
func withHeadroom(packets [][]byte) [][]byte {
	bufs := make([][]byte, len(packets))
	for i, p := range packets {
		bufs[i] = append(bytes.Repeat([]byte{0xee}, tun.Headroom), p...)
	}
	return bufs
}

// runsOf is which packets are merged.
func runsOf(m *tun.Merger, packets [][]byte) (runs [][]int) {
	for i := range m.Find(withHeadroom(packets), tun.Headroom) {
		runs = append(runs, m.Members(i))
	}
	return runs
}

func same(a, b [][]int) bool { return slices.EqualFunc(a, b, slices.Equal[[]int]) }

// stream is n segments of one TCP connection.
func stream(n, size int) [][]byte {
	var out [][]byte
	for i := range n {
		ip := tuntest.IP{ID: uint16(i)}
		out = append(out, ip.TCP(a4, b4, tuntest.TCPHeader{Seq: uint32(i * size), Ack: 1, Window: 500}, pattern(size)))
	}
	return out
}

// The rules: two packets that can be merged, then one thing is changed.
func TestMergeRules(t *testing.T) {
	type packet struct {
		ip       tuntest.IP
		tcp      tuntest.TCPHeader
		size     int
		src, dst netip.AddrPort
		after    func([]byte)
	}
	for _, c := range []struct {
		name    string
		first   func(*packet)
		second  func(*packet)
		merges  bool
		v6, udp bool
	}{
		{name: "next segment", merges: true},
		{name: "next segment", merges: true, v6: true},
		{name: "next datagram", merges: true, udp: true},
		{name: "next datagram", merges: true, udp: true, v6: true},
		{name: "shorter", second: func(p *packet) { p.size = 50 }, merges: true},
		{name: "longer", second: func(p *packet) { p.size = 101 }},
		{name: "shorter datagram", second: func(p *packet) { p.size = 50 }, merges: true, udp: true},
		{name: "longer datagram", second: func(p *packet) { p.size = 101 }, udp: true},
		{name: "empty datagram", second: func(p *packet) { p.size = 0 }, udp: true},
		{name: "bare acknowledgement", second: func(p *packet) { p.size = 0 }},
		{name: "gap", second: func(p *packet) { p.tcp.Seq++ }},
		{name: "overlap", second: func(p *packet) { p.tcp.Seq-- }},
		{name: "retransmission", second: func(p *packet) { p.tcp.Seq -= 100 }},
		{name: "sequence number wraps", first: func(p *packet) { p.tcp.Seq = 0xffffffff - 50 }, second: func(p *packet) { p.tcp.Seq = 49 }, merges: true},
		{name: "other acknowledgement", second: func(p *packet) { p.tcp.Ack++ }},
		{name: "other window", second: func(p *packet) { p.tcp.Window++ }},
		{name: "other options", second: func(p *packet) { p.tcp.Options = []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 3, 1, 1} }},
		{name: "no options", second: func(p *packet) { p.tcp.Options = nil }},
		{name: "PSH", second: func(p *packet) { p.tcp.Flags |= tuntest.PSH }, merges: true},
		{name: "PSH on the first", first: func(p *packet) { p.tcp.Flags |= tuntest.PSH }},
		{name: "PSH on both", first: func(p *packet) { p.tcp.Flags |= tuntest.PSH }, second: func(p *packet) { p.tcp.Flags |= tuntest.PSH }},
		{name: "FIN", second: func(p *packet) { p.tcp.Flags |= tuntest.FIN }},
		{name: "SYN", second: func(p *packet) { p.tcp.Flags |= tuntest.SYN }},
		{name: "RST", second: func(p *packet) { p.tcp.Flags |= tuntest.RST }},
		{name: "URG", second: func(p *packet) { p.tcp.Flags |= tuntest.URG }},
		{name: "FIN on the first", first: func(p *packet) { p.tcp.Flags |= tuntest.FIN }},
		{name: "no ACK", first: func(p *packet) { p.tcp.Flags = tuntest.ECE }, second: func(p *packet) { p.tcp.Flags = tuntest.ECE }},
		{name: "ECE on one", second: func(p *packet) { p.tcp.Flags |= tuntest.ECE }},
		{name: "ECE on both", first: func(p *packet) { p.tcp.Flags |= tuntest.ECE }, second: func(p *packet) { p.tcp.Flags |= tuntest.ECE }, merges: true},
		{name: "CWR on the first", first: func(p *packet) { p.tcp.Flags |= tuntest.CWR }, merges: true},
		{name: "CWR on the second", second: func(p *packet) { p.tcp.Flags |= tuntest.CWR }},
		{name: "CWR on both", first: func(p *packet) { p.tcp.Flags |= tuntest.CWR }, second: func(p *packet) { p.tcp.Flags |= tuntest.CWR }},
		{name: "urgent pointer without URG", second: func(p *packet) { p.after = func(b []byte) { b[20+19]++; refresh(b) } }},
		{name: "reserved bit (AE)", second: func(p *packet) { p.after = func(b []byte) { b[20+12] |= 1; refresh(b) } }},
		{name: "other source port", second: func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), 1) }},
		{name: "other destination", second: func(p *packet) { p.dst = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.78"), 443) }},
		{name: "other destination", second: func(p *packet) { p.dst = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::78"), 443) }, v6: true},
		{name: "other TOS", second: func(p *packet) { p.ip.TOS = 2 }},
		{name: "other TOS, datagram", second: func(p *packet) { p.ip.TOS = 2 }, udp: true},
		{name: "other traffic class", second: func(p *packet) { p.ip.TOS = 3 }, v6: true},
		{name: "other flow label", second: func(p *packet) { p.ip.FlowLabel = 1 }, v6: true},
		{name: "other TTL", second: func(p *packet) { p.ip.TTL = 63 }},
		{name: "other hop limit", second: func(p *packet) { p.ip.TTL = 63 }, v6: true},
		{name: "other DF", second: func(p *packet) { p.ip.NoDF = true }},
		{name: "reserved fragment flag", second: func(p *packet) { p.after = func(b []byte) { b[6] |= 0x80; refresh(b) } }},
		{name: "identification wraps", first: func(p *packet) { p.ip.ID = 0xffff; p.ip.NoDF = true }, second: func(p *packet) { p.ip.ID = 0; p.ip.NoDF = true }, merges: true},
		{name: "identification jumps", second: func(p *packet) { p.ip.ID += 5 }},
		{name: "identification stays, DF", second: func(p *packet) { p.ip.ID-- }, merges: true},
		{name: "identification stays, no DF", first: func(p *packet) { p.ip.NoDF = true }, second: func(p *packet) { p.ip.ID--; p.ip.NoDF = true }},
		{name: "fragment", second: func(p *packet) { p.after = func(b []byte) { b[6] |= 0x20; refresh(b) } }},
		{name: "later fragment", second: func(p *packet) { p.after = func(b []byte) { b[7] = 9; refresh(b) } }},
		{name: "IPv4 options", second: func(p *packet) { p.ip.Options = []byte{1, 1, 1, 0} }},
		{name: "IPv4 options on both", first: func(p *packet) { p.ip.Options = []byte{1, 1, 1, 0} }, second: func(p *packet) { p.ip.Options = []byte{1, 1, 1, 0} }},
		{name: "extension headers on both", v6: true, udp: true,
			first: func(p *packet) {
				p.ip.Extension, p.ip.ExtensionType = []byte{17, 0, 1, 4, 0, 0, 0, 0}, 60
			},
			second: func(p *packet) {
				p.ip.Extension, p.ip.ExtensionType = []byte{17, 0, 1, 4, 0, 0, 0, 0}, 60
			}},
		{name: "bad TCP checksum", second: func(p *packet) { p.after = func(b []byte) { b[len(b)-1]++ } }},
		{name: "bad TCP checksum on the first", first: func(p *packet) { p.after = func(b []byte) { b[len(b)-1]++ } }},
		{name: "bad IPv4 checksum", second: func(p *packet) { p.after = func(b []byte) { b[10]++ } }},
		{name: "bad IPv4 checksum on the first", first: func(p *packet) { p.after = func(b []byte) { b[10]++ } }},
		{name: "bad UDP checksum", udp: true, v6: true, second: func(p *packet) { p.after = func(b []byte) { b[len(b)-1]++ } }},
		{name: "UDP without checksum", udp: true, second: func(p *packet) { p.after = func(b []byte) { b[26], b[27] = 0, 0 } }},
		{name: "UDP without checksum, both", udp: true,
			first:  func(p *packet) { p.after = func(b []byte) { b[26], b[27] = 0, 0 } },
			second: func(p *packet) { p.after = func(b []byte) { b[26], b[27] = 0, 0 } }},
		{name: "UDP length too small", udp: true, second: func(p *packet) { p.after = func(b []byte) { b[25]--; refresh(b) } }},
		{name: "IPv4 length too small", second: func(p *packet) { p.after = func(b []byte) { b[3]--; refresh(b) } }},
		{name: "IPv6 length too small", v6: true, second: func(p *packet) { p.after = func(b []byte) { b[5]-- } }},
	} {
		name := c.name
		if c.v6 {
			name += " v6"
		}
		t.Run(name, func(t *testing.T) {
			var packets [][]byte
			for i, change := range []func(*packet){c.first, c.second} {
				p := packet{size: 100, src: a4, dst: b4}
				p.ip.ID = uint16(7 + i)
				p.tcp = tuntest.TCPHeader{Seq: uint32(1000 + 100*i), Ack: 5, Flags: tuntest.ACK, Window: 99,
					Options: []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1}}
				if c.v6 {
					p.src, p.dst = a6, b6
				}
				if change != nil {
					change(&p)
				}
				var b []byte
				if c.udp {
					b = p.ip.UDP(p.src, p.dst, pattern(p.size))
				} else {
					b = p.ip.TCP(p.src, p.dst, p.tcp, pattern(p.size))
				}
				if p.after != nil {
					p.after(b)
				}
				packets = append(packets, b)
			}
			var m tun.Merger
			runs := runsOf(&m, packets)
			if merged := len(runs) == 1; merged != c.merges {
				t.Errorf("merged is %v, want %v", merged, c.merges)
			}
			if slow := slowMerge(packets, true, true, tun.MergeFlows, tun.MergePieces, tun.MergeDatagrams); !same(runs, slow) {
				t.Errorf("runs %v, the slow twin says %v", runs, slow)
			}
			law(t, &m, packets)
		})
	}
}

// refresh makes the checksums of an IPv4 packet good again.
func refresh(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:20]))
	field := 20 + 16
	if b[9] == 17 {
		field = 20 + 6
	}
	b[field], b[field+1] = 0, 0
	binary.BigEndian.PutUint16(b[field:], ^slowSum(slowPseudo(b, b[9], len(b)-20), b[20:]))
}

// law: what is written, split again, is the packets, each flow in its order,
// and refused runs can be written as they were.
func law(t testing.TB, m *tun.Merger, packets [][]byte) {
	t.Helper()
	bufs := withHeadroom(packets)
	count := m.Find(bufs, tun.Headroom)
	seen := make([]int, 0, len(packets))
	newest := map[string]int{}
	for r := range count {
		members := m.Members(r)
		seen = append(seen, members...)
		written := m.Written(r)
		if len(members) == 1 {
			if !bytes.Equal(written[:tun.VirtioLen], make([]byte, tun.VirtioLen)) {
				t.Fatalf("single packet with virtio header %x", written[:tun.VirtioLen])
			}
			if !bytes.Equal(written[tun.VirtioLen:], packets[members[0]]) {
				t.Fatalf("packet %d was changed", members[0])
			}
		} else {
			if n := len(written) - tun.VirtioLen; n > 65535 {
				t.Fatalf("super-packet of %d bytes", n)
			}
			segments := splitAll(t, mustVirtio(t, written))
			var want [][]byte
			for i, k := range members {
				want = append(want, constantID(packets[k], packets[members[0]], i))
			}
			compare(t, segments, want)
		}
		m.Restore(r)
		for _, k := range members {
			if !bytes.Equal(bufs[k][tun.Headroom:], packets[k]) {
				t.Fatalf("packet %d is not restored", k)
			}
			flow := dissect(packets[k]).flow
			if last, ok := newest[flow]; ok && last > k {
				t.Fatalf("packet %d is written after packet %d of the same flow", k, last)
			}
			newest[flow] = k
		}
	}
	slices.Sort(seen)
	for i, k := range seen {
		if i != k || len(seen) != len(packets) {
			t.Fatalf("packets written: %v", seen)
		}
	}
}

// constantID is p, the i-th of a run, but where the flow keeps its
// identification (allowed with DF only), as splitting counts it up.
func constantID(p, first []byte, i int) []byte {
	if p[0]>>4 != 4 || i == 0 || p[6]&0x40 == 0 ||
		binary.BigEndian.Uint16(p[4:]) != binary.BigEndian.Uint16(first[4:]) {
		return p
	}
	p = slices.Clone(p)
	binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(i))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^slowSum(p[:20]))
	return p
}

func TestMergeLimits(t *testing.T) {
	count := func(packets [][]byte) (sizes []int) {
		var m tun.Merger
		for _, r := range runsOf(&m, packets) {
			sizes = append(sizes, len(r))
		}
		law(t, &m, packets)
		return sizes
	}
	var datagrams [][]byte
	for range 100 {
		datagrams = append(datagrams, tuntest.UDP(a6, b6, pattern(100)))
	}
	for _, c := range []struct {
		name    string
		packets [][]byte
		want    []int
	}{
		{"64 KiB", stream(60, 1380), []int{47, 13}}, // 40 + 47*1380 = 64,900
		{"pieces", stream(200, 10), []int{128, 72}},
		{"datagrams", datagrams, []int{64, 36}},
		{"exactly 65,535", stream(2, 65495/2), []int{2}},
		{"one more", stream(2, 65495/2+1), []int{1, 1}},
	} {
		if got := count(c.packets); !slices.Equal(got, c.want) {
			t.Errorf("%s: runs of %v packets, want %v", c.name, got, c.want)
		}
	}
}

func TestMergeEndsAtShortAndPSH(t *testing.T) {
	short := stream(4, 100)
	short[1] = tuntest.IP{ID: 1}.TCP(a4, b4, tuntest.TCPHeader{Seq: 100, Ack: 1, Window: 500}, pattern(99))
	short[2] = tuntest.IP{ID: 2}.TCP(a4, b4, tuntest.TCPHeader{Seq: 199, Ack: 1, Window: 500}, pattern(100))
	pushed := stream(4, 100)
	pushed[1][20+13] |= tuntest.PSH
	refresh(pushed[1])
	var m tun.Merger
	if got := runsOf(&m, short); !same(got, [][]int{{0, 1}, {2}, {3}}) {
		t.Errorf("a short segment second: %v", got)
	}
	if got := runsOf(&m, pushed); !same(got, [][]int{{0, 1}, {2, 3}}) {
		t.Errorf("PSH on the second: %v", got)
	}
	m.Find(withHeadroom(pushed), tun.Headroom)
	if head := m.Written(0); head[tun.VirtioLen+20+13]&tuntest.PSH == 0 {
		t.Error("the super-packet lacks the PSH of its last segment")
	}
}

func TestInterleavedFlows(t *testing.T) {
	flow := func(port, i int) []byte {
		return tuntest.UDP(netip.AddrPortFrom(a6.Addr(), uint16(port)), b6, pattern(100))
	}
	var packets [][]byte
	for i := range 4 {
		for port := range tun.MergeFlows {
			packets = append(packets, flow(port, i))
		}
	}
	var m tun.Merger
	runs := runsOf(&m, packets)
	if len(runs) != tun.MergeFlows || len(runs[0]) != 4 {
		t.Errorf("%d flows in turns: %v", tun.MergeFlows, runs)
	}
	// What cannot be told to belong to a flow is not overtaken.
	ping := tuntest.Ping(a6.Addr(), b6.Addr(), 1, 1, nil)
	if got := runsOf(&m, [][]byte{flow(1, 0), flow(2, 0), ping, flow(1, 1), flow(2, 1), flow(1, 2)}); !same(got, [][]int{{0}, {1}, {2}, {3, 5}, {4}}) {
		t.Errorf("with a ping between: %v", got)
	}
	// A bare acknowledgement between segments of its flow, not of others.
	s := stream(4, 100)
	ack := tuntest.TCP(a4, b4, tuntest.TCPHeader{Seq: 200, Ack: 1, Window: 501}, nil)
	if got := runsOf(&m, [][]byte{s[0], flow(1, 0), s[1], ack, flow(1, 1), s[2], s[3]}); !same(got, [][]int{{0, 2}, {1, 4}, {3}, {5, 6}}) {
		t.Errorf("with an acknowledgement between: %v", got)
	}
}

func TestMergeOff(t *testing.T) {
	var m tun.Merger
	m.Off(true)
	d := tuntest.UDP(a4, b4, pattern(100))
	s := stream(2, 100)
	if got := runsOf(&m, [][]byte{d, s[0], d, s[1]}); !same(got, [][]int{{0}, {1, 3}, {2}}) {
		t.Errorf("UDP off: %v", got)
	}
	m.Off(false)
	if got := runsOf(&m, s); len(got) != 2 {
		t.Errorf("TCP off: %v", got)
	}
}

// merge(split(super)) is super.
func TestMergeOfSplit(t *testing.T) {
	for _, super := range [][]byte{
		tuntest.Super(tuntest.TCP(a4, b4, tuntest.TCPHeader{Seq: 5, Flags: tuntest.ACK | tuntest.PSH | tuntest.CWR}, pattern(60000)), 1380, 0),
		tuntest.Super(tuntest.TCP(a6, b6, tuntest.TCPHeader{Seq: 5, Options: []byte{1, 1, 1, 1}}, pattern(60000)), 1360, 0),
		tuntest.Super(tuntest.UDP(a4, b4, pattern(60000)), 1200, 0),
		tuntest.Super(tuntest.UDP(a6, b6, pattern(60001)), 1200, 0),
	} {
		segments := splitAll(t, mustVirtio(t, append([]byte{}, super...)))
		var m tun.Merger
		if n := m.Find(withHeadroom(segments), tun.Headroom); n != 1 {
			t.Errorf("%d segments become %d packets, want 1", len(segments), n)
			continue
		}
		if got := m.Written(0); !bytes.Equal(got, super) {
			t.Errorf("got  %x\nwant %x", got[:80], super[:80])
		}
	}
}

// script makes packets of bytes: two for each packet, the first of which says
// what kind and flow, the second what is odd about it.
func script(b []byte) (packets [][]byte) {
	type state struct {
		seq uint32
		id  uint16
	}
	flows := map[byte]*state{}
	for ; len(b) >= 2 && len(packets) < tun.MergeBatch; b = b[2:] {
		key, odd := b[0]%24, b[1]
		s := flows[key]
		if s == nil {
			s = &state{seq: uint32(key) * 0x0fffff00}
			flows[key] = s
		}
		src, dst, size := a4, b4, 40
		if key&1 != 0 {
			src, dst = a6, b6
		}
		src = netip.AddrPortFrom(src.Addr(), uint16(key))
		ip := tuntest.IP{ID: s.id, NoDF: key&4 != 0}
		tcp := tuntest.TCPHeader{Seq: s.seq, Flags: tuntest.ACK, Window: 3}
		change := func([]byte) {}
		switch odd {
		case 1:
			size = 20
		case 2:
			size = 60
		case 3:
			tcp.Flags |= tuntest.PSH
		case 4:
			tcp.Flags |= tuntest.FIN
		case 5:
			tcp.Flags |= tuntest.CWR
		case 6:
			ip.TOS = 1
		case 7:
			change = func(p []byte) { p[len(p)-1]++ }
		case 8:
			ip.ID += 7
		case 9:
			ip.ID--
		case 10:
			tcp.Options = []byte{1, 1, 1, 1}
		case 11:
			size = 0
		case 12:
			tcp.Seq++
		case 13:
			size = 30000
		case 14:
			change = func(p []byte) { p[6] |= 0x20 }
		case 15:
			change = func(p []byte) { p[10]++ }
		case 16:
			change = func(p []byte) { p[9]++ }
		}
		var p []byte
		if key&2 != 0 {
			p = ip.UDP(src, dst, pattern(size))
		} else {
			p = ip.TCP(src, dst, tcp, pattern(size))
		}
		change(p)
		s.seq += uint32(size)
		s.id++
		packets = append(packets, p)
	}
	return packets
}

// FuzzMerge: against the slow twin, and the law.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2, 0, 2, 0, 3, 0, 3, 0, 3, 1, 3, 0})
	f.Add([]byte{0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 12})
	f.Add([]byte{0, 13, 0, 13, 0, 13, 2, 13, 2, 13, 2, 13, 0, 14, 0, 0})
	f.Add([]byte{0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0, 9, 0, 0, 0, 1, 0, 5, 0, 9, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		packets := script(b)
		var m tun.Merger
		got := runsOf(&m, packets)
		want := slowMerge(packets, true, true, tun.MergeFlows, tun.MergePieces, tun.MergeDatagrams)
		if !same(got, want) {
			t.Fatalf("runs %v, want %v", got, want)
		}
		law(t, &m, packets)
	})
}

// FuzzMergeRaw: packets that are just bytes, cut at a length, twice each.
func FuzzMergeRaw(f *testing.F) {
	f.Add(slices.Concat(stream(3, 30)...), uint8(70))
	f.Add(slices.Concat(tuntest.UDP(a6, b6, pattern(40)), tuntest.UDP(a6, b6, pattern(40))), uint8(88))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		var packets [][]byte
		for p := range slices.Chunk(b, int(max(size, 1))) {
			if packets = append(packets, p, p); len(packets) > tun.MergeBatch-2 {
				break
			}
		}
		var m tun.Merger
		got := runsOf(&m, packets)
		want := slowMerge(packets, true, true, tun.MergeFlows, tun.MergePieces, tun.MergeDatagrams)
		if !same(got, want) {
			t.Fatalf("runs %v, want %v", got, want)
		}
		law(t, &m, packets)
	})
}

func TestMergeDoesNotAllocate(t *testing.T) {
	bufs := withHeadroom(append(stream(40, 1380), tuntest.Ping(a4.Addr(), b4.Addr(), 1, 1, nil), tuntest.UDP(a6, b6, nil)))
	var m tun.Merger
	if n := testing.AllocsPerRun(100, func() { m.Find(bufs, tun.Headroom) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMerge(b *testing.B) {
	var mixed [][]byte
	for i, p := range stream(45, 1380) {
		mixed = append(mixed, p, tuntest.UDP(netip.AddrPortFrom(a6.Addr(), uint16(i%3)), b6, pattern(1200)))
	}
	for _, c := range []struct {
		name    string
		packets [][]byte
	}{
		{"TCP4-45x1380", stream(45, 1380)},
		{"mixed-90", mixed},
		{"single-1400", stream(1, 1360)},
		{"single-64", [][]byte{tuntest.UDP(a4, b4, pattern(36))}},
	} {
		b.Run(c.name, func(b *testing.B) {
			bufs := withHeadroom(c.packets)
			var m tun.Merger
			b.ReportAllocs()
			for b.Loop() {
				n := m.Find(bufs, tun.Headroom)
				for i := range n {
					m.Seal(i)
				}
				for i := range n {
					m.Restore(i)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bufs)), "ns/packet")
		})
	}
}

// A zero checksum says that there is none, also where the sum would fit.
func TestMergeUDPWithoutChecksum(t *testing.T) {
	payload := make([]byte, 100)
	copy(payload, word(binary.BigEndian.Uint16(tuntest.UDP(a6, b6, payload)[46:])))
	p := tuntest.UDP(a6, b6, payload)
	if p[46] != 0xff || p[47] != 0xff {
		t.Fatalf("the test's own packet has checksum %x", p[46:48])
	}
	var m tun.Merger
	if got := runsOf(&m, [][]byte{p, p}); len(got) != 1 {
		t.Errorf("checksum 0xffff: %v", got)
	}
	p[46], p[47] = 0, 0
	if got := runsOf(&m, [][]byte{p, p}); len(got) != 2 {
		t.Errorf("no checksum: %v", got)
	}
}
