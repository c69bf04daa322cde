package tun_test

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The slow and simple twins of split.go and merge.go. They share no code with
// them: headers are taken apart into fields, checksums are added word by word.

func slowSum(parts ...[]byte) uint16 {
	var flat []byte
	for _, p := range parts {
		flat = append(flat, p...)
	}
	if len(flat)%2 == 1 {
		flat = append(flat, 0)
	}
	sum := 0
	for i := 0; i < len(flat); i += 2 {
		sum += int(flat[i])<<8 | int(flat[i+1])
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// slowPseudo is the pseudo-header for a transport of n bytes.
func slowPseudo(p []byte, proto byte, n int) []byte {
	var b []byte
	if p[0]>>4 == 4 {
		b = slices.Clone(p[12:20])
	} else {
		b = slices.Clone(p[8:40])
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, 0, 0, 0, proto)
}

// slowSplit cuts packet, whose transport header is at ip, into segments.
func slowSplit(packet []byte, ip, size int, udp bool) [][]byte {
	proto, header, field := byte(6), 0, 16
	if udp {
		proto, header, field = 17, ip+8, 6
	} else {
		header = ip + int(packet[ip+12]>>4)*4
	}
	var out [][]byte
	for i, pieces := 0, slices.Collect(slices.Chunk(packet[header:], size)); i < len(pieces); i++ {
		p := slices.Concat(packet[:header], pieces[i])
		if p[0]>>4 == 4 {
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
			binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(i))
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], ^slowSum(p[:int(p[0]&15)*4]))
		} else {
			binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		}
		t := p[ip:]
		if udp {
			binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		} else {
			binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(i*size))
			if i < len(pieces)-1 {
				t[13] &^= 0x09
			}
			if i > 0 {
				t[13] &^= 0x80
			}
		}
		t[field], t[field+1] = 0, 0
		sum := ^slowSum(slowPseudo(p, proto, len(t)), t)
		if udp && sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(t[field:], sum)
		out = append(out, p)
	}
	return out
}

// fields are a packet's header fields; those that change from segment to
// segment stand outside of same.
type fields struct {
	known, mergeable bool
	udp              bool
	flow             string
	same             string // all that must be equal in a run
	df               bool
	id               uint16
	seq              uint32
	psh, cwr         bool
	payload, header  int
	good             bool
}

func dissect(p []byte) (f fields) {
	if len(p) < 28 || len(p) > 65535 {
		return f
	}
	ip, proto, same := 20, p[9], ""
	switch {
	case p[0] == 0x45:
		if int(p[2])<<8|int(p[3]) != len(p) || p[6]&0x20 != 0 || p[6]&0x1f != 0 || p[7] != 0 {
			return f
		}
		f.df, f.id = p[6]&0x40 != 0, binary.BigEndian.Uint16(p[4:])
		same = fmt.Sprint("v4", p[1], p[6], p[8])
		f.good = slowSum(p[:20]) == 0xffff && binary.BigEndian.Uint16(p[10:]) != 0xffff
		f.flow = fmt.Sprint(p[12:20], proto)
	case p[0]>>4 == 6 && len(p) >= 48:
		if int(p[4])<<8|int(p[5]) != len(p)-40 {
			return f
		}
		ip, proto = 40, p[6]
		same = fmt.Sprint("v6", p[:4], p[7])
		f.good = true
		f.flow = fmt.Sprint(p[8:40], proto)
	default:
		return f
	}
	t := p[ip:]
	f.flow += fmt.Sprint(t[:4])
	switch proto {
	case 17:
		f.known, f.udp, f.header = true, true, ip+8
		f.payload = len(p) - f.header
		sum := binary.BigEndian.Uint16(t[6:])
		f.mergeable = f.payload > 0 && int(binary.BigEndian.Uint16(t[4:])) == len(t) && sum != 0
	case 6:
		if len(t) < 20 {
			return f
		}
		f.header = ip + int(t[12]>>4)*4
		if f.header < ip+20 || f.header > len(p) {
			return f
		}
		f.known = true
		f.payload = len(p) - f.header
		flags := t[13]
		f.psh, f.cwr, f.seq = flags&8 != 0, flags&0x80 != 0, binary.BigEndian.Uint32(t[4:])
		f.mergeable = f.payload > 0 && flags&0x10 != 0 && flags&0x27 == 0
		same += fmt.Sprint(t[8:13], flags&^0x88, t[14:16], t[18:f.header-ip])
		f.good = f.good && binary.BigEndian.Uint16(t[16:]) != 0xffff
	default:
		return f
	}
	f.same = same + fmt.Sprint(f.header)
	f.good = f.good && slowSum(slowPseudo(p, proto, len(t)), t) == 0xffff
	return f
}

// slowMerge says which packets make one, in the order of writing. tcp and udp
// tell what may be merged, flows how many runs may be open.
func slowMerge(packets [][]byte, tcp, udp bool, flows, pieces, datagrams int) [][]int {
	var runs [][]int
	var open []int // indices of runs, oldest first
	f := make([]fields, len(packets))
	for i, p := range packets {
		f[i] = dissect(p)
		if !f[i].known {
			open = nil
			runs = append(runs, []int{i})
			continue
		}
		if f[i].udp && !udp || !f[i].udp && !tcp {
			runs = append(runs, []int{i})
			continue
		}
		at := slices.IndexFunc(open, func(r int) bool {
			a := f[runs[r][0]]
			return a.flow == f[i].flow && a.same[:2] == f[i].same[:2]
		})
		if at >= 0 {
			r := open[at]
			limit := pieces
			if f[i].udp {
				limit = datagrams
			}
			if slowJoins(f, runs[r], i) {
				runs[r] = append(runs[r], i)
				if f[i].psh || f[i].payload < f[runs[r][0]].payload || len(runs[r]) == limit {
					open = slices.Delete(open, at, at+1)
				}
				continue
			}
			open = slices.Delete(open, at, at+1)
		}
		runs = append(runs, []int{i})
		if f[i].mergeable && !f[i].psh {
			if len(open) == flows {
				open = open[1:]
			}
			open = append(open, len(runs)-1)
		}
	}
	return runs
}

func slowJoins(f []fields, run []int, i int) bool {
	head, last, p := f[run[0]], f[run[len(run)-1]], f[i]
	total := head.header + p.payload
	for _, k := range run {
		total += f[k].payload
	}
	if !p.mergeable || !head.good || !p.good || p.same != head.same || p.cwr ||
		p.payload > head.payload || total > 65535 {
		return false
	}
	if !p.udp && p.seq != head.seq+uint32(len(run)*head.payload) {
		return false
	}
	if head.same[:2] == "v4" {
		step := p.id - last.id
		if step > 1 || step == 0 && !p.df {
			return false
		}
		if len(run) > 1 && step != last.id-f[run[len(run)-2]].id {
			return false
		}
	}
	return true
}
