package tun

import (
	"encoding/binary"

	"culvert/internal/checksum"
)

// savedHeader is what seal overwrites in the first packet of a run.
type savedHeader struct {
	ipLen, ipSum, udpLen, sum uint16
	flags                     byte
}

// seal turns the first packet of r into the head of a super-packet: lengths,
// PSH, the checksum field with the sum of the pseudo-header, and the
// virtio-net header in front. For a single packet that header is all zero.
func (m *merger) seal(r *run) {
	buf := m.bufs[r.first]
	virtio := buf[m.offset-virtioLen : m.offset]
	if r.count == 1 {
		clear(virtio)
		return
	}
	p := buf[m.offset:]
	ip := r.kind.ipLen()
	segment := p[ip:]
	h := virtioHeader{
		flags:         virtioNeedsChecksum,
		gsoType:       r.kind.gsoType(),
		headerLen:     uint16(r.header),
		gsoSize:       uint16(r.payload),
		checksumStart: uint16(ip),
	}

	proto, field := byte(protoTCP), 16
	if r.kind.udp() {
		proto, field = protoUDP, 6
		r.saved.udpLen = exchange(segment[4:], uint16(r.total-ip))
	} else {
		r.saved.flags = segment[13]
		if r.psh {
			segment[13] |= tcpPSH
		}
		if segment[13]&tcpCWR != 0 {
			h.gsoType |= gsoECN
		}
	}
	h.checksum = uint16(field)
	h.encode(virtio)

	var pseudo checksum.Sum
	if r.kind.v4() {
		r.saved.ipLen = exchange(p[2:], uint16(r.total))
		r.saved.ipSum = exchange(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p[:ipv4Header]).Checksum())
		pseudo = checksum.Pseudo(proto, p[12:16], p[16:20], r.total-ip)
	} else {
		r.saved.ipLen = exchange(p[4:], uint16(r.total-ip))
		pseudo = checksum.Pseudo(proto, p[8:24], p[24:40], r.total-ip)
	}
	r.saved.sum = exchange(segment[field:], pseudo.Fold())
}

// unseal undoes seal, so that the packets of r can be written one by one.
func (m *merger) unseal(r *run) {
	if r.count == 1 {
		return
	}
	p := m.packet(r.first)
	segment := p[r.kind.ipLen():]
	if r.kind.udp() {
		exchange(segment[4:], r.saved.udpLen)
		exchange(segment[6:], r.saved.sum)
	} else {
		segment[13] = r.saved.flags
		exchange(segment[16:], r.saved.sum)
	}
	if r.kind.v4() {
		exchange(p[2:], r.saved.ipLen)
		exchange(p[10:], r.saved.ipSum)
	} else {
		exchange(p[4:], r.saved.ipLen)
	}
}

// exchange stores v in network order and returns what was there.
func exchange(field []byte, v uint16) uint16 {
	old := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, v)
	return old
}
