//go:build linux

package main

import (
	"culvert/conn"
	"culvert/tun"
)

// Bounds of what is sent together.
const (
	maxDrain    = 1 << 18 // bytes read before sending
	maxSegments = 64      // datagrams in one run
	maxRun      = 65000   // bytes in one run
)

// outbound reads what there is, lays it into one arena in wire layout, and
// sends it as runs of datagrams of one size.
func outbound(r tun.Reader, to conn.Sockets, remote *conn.Endpoint) error {
	o := arena{data: make([]byte, 0, maxDrain+1<<18), remote: remote}
	var p tun.Packet
	for {
		if err := r.Read(&p); err != nil {
			return err
		}
		o.data, o.runs = o.data[:0], o.runs[:0]
		for more := true; more; {
			for i := range p.Segments() {
				o.add(&p, i)
			}
			var err error
			if more, err = r.TryRead(&p); err != nil {
				return err
			}
			if more && len(o.data) >= maxDrain {
				to.Send(o.runs)
				o.data, o.runs = o.data[:0], o.runs[:0]
			}
		}
		to.Send(o.runs)
	}
}

// arena holds the datagrams to be sent.
type arena struct {
	data   []byte
	runs   []conn.Run
	remote *conn.Endpoint
}

// add appends segment i of p to the run it continues, or begins one.
func (o *arena) add(p *tun.Packet, i int) {
	n := p.SegmentLen(i)
	size := header + (n+15)&^15 + tag
	begin := len(o.data)
	o.data = o.data[:begin+size]
	p.CopySegment(i, o.data[begin+header:])
	if last := len(o.runs) - 1; last >= 0 {
		run := &o.runs[last]
		full := len(run.Data)%run.Segment == 0 // nothing follows a shorter one
		if full && size <= run.Segment && run.Datagrams() < maxSegments && len(run.Data)+size <= maxRun {
			run.Data = run.Data[:len(run.Data)+size]
			return
		}
	}
	o.runs = append(o.runs, conn.Run{Data: o.data[begin : begin+size : cap(o.data)], Segment: size, To: o.remote})
}
