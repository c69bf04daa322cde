package conn

import "golang.org/x/sys/unix"

// add builds the messages of r.
func (x *sender) add(r *Run) {
	segment := r.Segment
	if segment <= 0 || segment > len(r.Data) {
		segment = len(r.Data)
	}
	step := segment
	if segment < len(r.Data) && !x.noGSO && x.sock.gso.allows(r.To.Remote.Addr()) {
		step = segment * x.perMessage(segment)
	}
	source := x.useSource(r)
	data := r.Data
	for {
		piece := data[:min(step, len(data))]
		x.put(r, piece, segment, source)
		if data = data[len(piece):]; len(data) == 0 {
			return
		}
		source = source && !r.SourceLost
	}
}

// perMessage is how many datagrams of a size fit in one GSO message.
func (x *sender) perMessage(segment int) int {
	payload := maxPayload4
	if x.sock.family == ipv6 {
		payload = maxPayload6
	}
	return max(1, min(maxSegments, payload/segment))
}

// useSource reports whether r goes with its sticky source, and looks at the
// source again if routes have changed.
func (x *sender) useSource(r *Run) bool {
	e := r.To
	if !e.Local.IsValid() {
		return false
	}
	if e == x.lost || familyOf(e.Local) != x.sock.family || !x.routes.good(x.sock, e) {
		x.lose(r)
		return false
	}
	return true
}

func (x *sender) lose(r *Run) {
	r.SourceLost = true
	x.lost = r.To
}

// put builds one message and sends what there is when the headers are used up.
func (x *sender) put(r *Run, data []byte, segment int, source bool) {
	if x.n == sendMessages {
		x.flush()
		source = source && !r.SourceLost
	}
	i := x.n
	x.n++
	h, c, o := &x.msgs[i].hdr, &x.ctrls[i], &x.out[i]
	*o = outgoing{run: r, data: data, segment: segment, datagrams: datagrams(len(data), segment), source: source}
	x.iovs[i].Base = nil
	if len(data) > 0 {
		x.iovs[i].Base = &data[0]
	}
	x.iovs[i].SetLen(len(data))
	scope := x.scope(r.To)
	if x.sock.family == ipv4 {
		h.Namelen = x.names[i].put4(r.To.Remote)
	} else {
		h.Namelen = x.names[i].put6(r.To.Remote, scope)
	}
	off := 0
	if r.TOS != 0 {
		off = c.putTOS(off, x.sock.family, r.TOS)
	}
	if o.datagrams > 1 {
		off = c.putSegment(off, segment)
	}
	o.plain = off
	if source {
		// The source comes last, so that cutting the length takes it away.
		off = c.putSource(off, x.sock.family, r.To.Local, sourceLink(r.To, scope))
	}
	setControl(h, c, off)
}

// scope is the interface number that a link-local destination needs.
func (x *sender) scope(e *Endpoint) uint32 {
	if zone := e.Remote.Addr().Zone(); zone != "" {
		return x.sock.zones.lookup(x.sock, zone, x.routes.generation())
	}
	return 0
}

// sourceLink is the interface number that a link-local source needs, else 0.
func sourceLink(e *Endpoint, scope uint32) uint32 {
	if !e.Local.Is6() || !e.Local.IsLinkLocalUnicast() {
		return 0
	}
	if scope != 0 {
		return scope
	}
	return e.IfIndex
}

func setControl(h *unix.Msghdr, c *control, n int) {
	h.Control = nil
	if n > 0 {
		h.Control = &c[0]
	}
	h.SetControllen(n)
}
