package tun

import (
	"encoding/binary"

	"culvert/internal/checksum"
)

// Merging (generic receive offload): consecutive segments of a flow become one
// super-packet, so that the kernel's stack handles one packet where there were
// up to 64. The law is that splitting the super-packet again gives the very
// same packets; every rule below follows from it. The one exception is the
// identification of IPv4 packets with DF set, which has no meaning (RFC 6864
// section 4.1): flows that keep it constant are merged too.

const (
	mergeBatch  = 256 // packets looked at together
	mergeFlows  = 8   // runs open at a time; one more closes the oldest
	mergePieces = 128 // packets per TCP run: 128 of 512 bytes make 64 KiB
	// mergeDatagrams is the number of datagrams per UDP run. It is what Linux's
	// own receive offload allows (UDP_GRO_CNT_MAX), so receivers are ready for it.
	mergeDatagrams = 64
	mergeMax       = 65535 // bytes per super-packet
)

// kind is what can be merged.
type kind byte

const (
	tcp4 kind = iota
	tcp6
	udp4
	udp6
	kinds
)

func (k kind) udp() bool { return k >= udp4 }
func (k kind) v4() bool  { return k == tcp4 || k == udp4 }

// ipLen is the size of the IP header; packets with options are not merged.
func (k kind) ipLen() int {
	if k.v4() {
		return ipv4Header
	}
	return ipv6Header
}

func (k kind) gsoType() byte { return [kinds]byte{gsoTCPv4, gsoTCPv6, gsoUDP, gsoUDP}[k] }

// candidate is what parse tells of a packet.
type candidate struct {
	kind    kind
	header  int // IP and transport header
	payload int
	alone   bool // belongs to a flow, but must not be merged with anything
}

// run is one packet to be written: single, or merged from count.
type run struct {
	first, last int16 // packets, chained by merger.next
	count       int16
	candidate       // of the first packet: payload is the gso size
	total       int // bytes merged
	open        bool
	verified    bool // the checksums of the first packet
	psh         bool // last packet had PSH
	step        byte // of the IPv4 identification: stepUnknown, ...
	saved       savedHeader
}

const (
	stepUnknown = iota
	stepOne
	stepNone
)

// merger finds the runs in a batch of packets. It is used by one goroutine at
// a time and keeps no packet after reset.
type merger struct {
	bufs   [][]byte
	offset int
	off    [kinds]bool // kinds not to be merged
	next   [mergeBatch]int16
	runs   [mergeBatch]run // in the order of writing
	n      int             // runs
	table  [mergeFlows]int16
	used   int // open runs in table, oldest first
}

// find sets m.runs for up to mergeBatch packets, packet i being
// bufs[i][offset:]. Nothing is changed yet.
func (m *merger) find(bufs [][]byte, offset int) {
	m.bufs, m.offset = bufs, offset
	m.n, m.used = 0, 0
	for i := range bufs {
		m.next[i] = -1
		m.add(int16(i))
	}
}

// reset forgets the packets.
func (m *merger) reset() { m.bufs = nil }

func (m *merger) packet(i int16) []byte { return m.bufs[i][m.offset:] }

func (m *merger) add(i int16) {
	p := m.packet(i)
	c, ok := parse(p)
	if !ok {
		// No telling to which flow it belongs (a fragment, for one): what
		// came before must be written before it, what follows after it.
		m.closeAll()
		m.append(i, candidate{})
		return
	}
	if m.off[c.kind] { // all packets of the flow go alone
		m.append(i, c)
		return
	}
	slot := m.lookup(p, c.kind)
	if slot >= 0 {
		r := &m.runs[m.table[slot]]
		if !c.alone && m.joins(r, p, &c) {
			m.join(r, i, p, &c)
		} else {
			r.open = false
		}
		if !r.open {
			m.drop(slot)
		}
		if r.last == i {
			return
		}
	}
	r := m.append(i, c)
	if !c.alone && !r.psh {
		m.open(r)
	}
}

// append makes a run of packet i.
func (m *merger) append(i int16, c candidate) *run {
	r := &m.runs[m.n]
	m.n++
	*r = run{first: i, last: i, count: 1, candidate: c, total: c.header + c.payload}
	if c.header > 0 && !c.kind.udp() {
		r.psh = m.packet(i)[c.kind.ipLen()+13]&tcpPSH != 0
	}
	return r
}

// open lets the newest run be joined.
func (m *merger) open(r *run) {
	r.open = true
	if m.used == mergeFlows {
		m.drop(0)
	}
	m.table[m.used] = int16(m.n - 1)
	m.used++
}

func (m *merger) closeAll() { m.used = 0 }

// drop closes the run in slot, keeping the order of the others.
func (m *merger) drop(slot int) {
	copy(m.table[slot:m.used], m.table[slot+1:m.used])
	m.used--
}

// lookup finds the open run of p's flow: equal addresses, ports and protocol.
func (m *merger) lookup(p []byte, k kind) int {
	for slot := range m.used {
		r := &m.runs[m.table[slot]]
		if r.kind == k && sameFlow(m.packet(r.first), p, k) {
			return slot
		}
	}
	return -1
}

// join adds packet i, which joins said yes to, to r.
func (m *merger) join(r *run, i int16, p []byte, c *candidate) {
	m.next[r.last] = i
	r.last = i
	r.count++
	r.total += c.payload
	if !c.kind.udp() && p[c.kind.ipLen()+13]&tcpPSH != 0 {
		r.psh = true
	}
	limit := int16(mergePieces)
	if c.kind.udp() {
		limit = mergeDatagrams
	}
	if r.psh || c.payload < r.payload || r.count == limit {
		r.open = false
	}
}

// joins reports whether p, of r's flow, is the next segment of r. The
// checksums come last: they are most of the work.
func (m *merger) joins(r *run, p []byte, c *candidate) bool {
	head, last := m.packet(r.first), m.packet(r.last)
	if c.header != r.header || c.payload > r.payload || r.total+c.payload > mergeMax {
		return false
	}
	step := r.step
	if c.kind.v4() {
		if step = nextStep(last, p, step); step == stepUnknown || !sameIPv4(head, p) {
			return false
		}
	} else if !sameIPv6(head, p) {
		return false
	}
	if ip := c.kind.ipLen(); !c.kind.udp() {
		sent := uint32(int(r.count) * r.payload)
		if !sameTCP(head[ip:r.header], p[ip:r.header], sent) {
			return false
		}
	}
	if !r.verified {
		if !verify(head, r.kind) {
			return false
		}
		r.verified = true
	}
	if !verify(p, c.kind) {
		return false
	}
	r.step = step
	return true
}

// parse tells what p is; false for all that is not TCP or UDP over IPv4
// without options or IPv6 without extension headers, or does not fill p.
func parse(p []byte) (c candidate, ok bool) {
	if len(p) < ipv4Header+udpHeader || len(p) > mergeMax {
		return c, false
	}
	var proto byte
	switch p[0] >> 4 {
	case 4:
		if p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != len(p) ||
			binary.BigEndian.Uint16(p[6:])&0x3fff != 0 { // a fragment
			return c, false
		}
		proto, c.kind = p[9], tcp4
	case 6:
		if len(p) < ipv6Header+udpHeader || int(binary.BigEndian.Uint16(p[4:])) != len(p)-ipv6Header {
			return c, false
		}
		proto, c.kind = p[6], tcp6
	default:
		return c, false
	}
	segment := p[c.kind.ipLen():]
	switch proto {
	case protoTCP:
		return parseTCP(c, segment)
	case protoUDP:
		c.kind += udp4 - tcp4
		c.header = c.kind.ipLen() + udpHeader
		c.payload = len(segment) - udpHeader
		c.alone = c.payload == 0 || int(binary.BigEndian.Uint16(segment[4:])) != len(segment) ||
			binary.BigEndian.Uint16(segment[6:]) == 0
		return c, true
	}
	return c, false
}

func parseTCP(c candidate, segment []byte) (candidate, bool) {
	if len(segment) < 20 {
		return c, false
	}
	header := int(segment[12]>>4) * 4
	if header < 20 || header > len(segment) {
		return c, false
	}
	c.header, c.payload = c.kind.ipLen()+header, len(segment)-header
	// A run may begin with CWR; sameTCP keeps it from the others.
	c.alone = c.payload == 0 || segment[13]&^(tcpPSH|tcpECE|tcpCWR) != tcpACK
	return c, true
}

// verify reports whether p's checksums are good, and written the way this
// package would write them (0xffff for a sum that is 0 in UDP only).
func verify(p []byte, k kind) bool {
	proto, field := byte(protoTCP), 16
	if k.udp() {
		proto, field = protoUDP, 6
	}
	var pseudo checksum.Sum
	ip := k.ipLen()
	if k.v4() {
		if checksum.Sum(0).Add(p[:ipv4Header]).Checksum() != 0 || binary.BigEndian.Uint16(p[10:]) == 0xffff {
			return false
		}
		pseudo = checksum.Pseudo(proto, p[12:16], p[16:20], len(p)-ip)
	} else {
		pseudo = checksum.Pseudo(proto, p[8:24], p[24:40], len(p)-ip)
	}
	if !k.udp() && binary.BigEndian.Uint16(p[ip+field:]) == 0xffff {
		return false
	}
	return pseudo.Add(p[ip:]).Checksum() == 0
}
