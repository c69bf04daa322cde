package conn

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// recover does what can be done for message i, which failed with errno.
func (x *sender) recover(i int, errno unix.Errno) {
	o := &x.out[i]
	var err error = errno
	if isPassing(errno) {
		if errno != unix.ECONNREFUSED {
			x.sock.counters.noBuffers.Add(1)
		}
		err = x.again(i)
	}
	if e, ok := err.(unix.Errno); ok && o.source && isSourceFault(e) {
		setControl(&x.msgs[i].hdr, &x.ctrls[i], o.plain)
		if retry := x.again(i); retry == nil {
			err = nil
			x.sourceGone(i)
		}
	}
	if e, ok := err.(unix.Errno); ok && o.datagrams > 1 && isGSOFault(e) {
		x.oneByOne(o, e)
		return
	}
	if err == unix.EAGAIN {
		x.sock.counters.bufferFull.Add(1)
		err = errFull
	}
	if err != nil && o.run.Err == nil {
		o.run.Err = err
	}
}

// isPassing tells errors that say nothing about the message: no memory just
// now, or an ICMP error that answers an earlier one.
func isPassing(errno unix.Errno) bool {
	return errno == unix.ENOBUFS || errno == unix.ENOMEM || errno == unix.ECONNREFUSED
}

// isSourceFault tells errors that a source address causes which is not, or no
// longer, ours or from which there is no way.
func isSourceFault(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV:
		return true
	}
	return false
}

// sourceGone takes the source of message i from all that follow with it.
func (x *sender) sourceGone(i int) {
	x.lose(x.out[i].run)
	for j := i + 1; j < x.n; j++ {
		if o := &x.out[j]; o.source && o.run.To == x.lost {
			o.run.SourceLost, o.source = true, false
			setControl(&x.msgs[j].hdr, &x.ctrls[j], o.plain)
		}
	}
}

// oneByOne sends the datagrams of a refused GSO message singly. If one goes,
// GSO was the reason and is remembered.
func (x *sender) oneByOne(o *outgoing, errno unix.Errno) {
	if x.single == nil {
		x.single = newSender()
		x.single.noGSO = true
	}
	y := x.single
	y.sock, y.routes, y.lost, y.went = x.sock, x.routes, x.lost, 0
	before := o.run.Err
	part := *o.run
	part.Data, part.Segment, part.Err = o.data, o.segment, nil
	y.sendAll(&part)
	o.run.Err = before
	if o.run.Err == nil {
		o.run.Err = part.Err
	}
	o.run.SourceLost = part.SourceLost
	x.lost = y.lost
	y.sock, y.routes, y.lost = nil, nil, nil
	x.sock.counters.gsoFallbacks.Add(1)
	if y.went > 0 {
		x.blame(errno, o.run.To.Remote.Addr())
	}
}

func (x *sender) sendAll(r *Run) {
	x.add(r)
	x.flush()
}

// blame tells the governor that GSO failed where single datagrams went.
func (x *sender) blame(errno unix.Errno, to netip.Addr) {
	turnedOff, remembered := x.sock.gso.fault(errno, to)
	if turnedOff {
		x.sock.log.Warn("UDP segmentation offload was refused: datagrams go one by one, and it is tried again every minute",
			"family", x.sock.family, "error", errno)
	}
	if !remembered {
		x.sock.counters.gsoTableFull.Add(1)
	}
}
