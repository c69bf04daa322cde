package device

import (
	"time"

	"culvert/conn"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/timers"
)

// Handshake messages, and junk, come through sockets of their own, where the system can tell them
// apart (conn.Splitter). So who floods with them neither fills the buffer that packets wait in, nor
// keeps their reader from them. What is left to take is processor time, and of that the readers of these
// sockets have a share while another reader is behind: what they do not come to, the
// kernel drops when the buffer is full, which costs nothing here.

// asidePerTick is how many datagrams of a tick of 67 ms, for each handshake worker, are read while other
// readers are behind: 61,000 a second, three times the handshakes that one can do, and
// some 7 % of a core.
const asidePerTick = handshakeQueue

// asideSize is the largest datagram, or run of merged ones, that is received there: 13 initiations.
const asideSize = 2 << 10

// splitting is n, with sockets of their own for what are no packets, and for packets beside those that are preferred (flood.go).
func splitting(n conn.Network) conn.Network {
	if s, ok := n.(conn.Splitter); ok {
		return s.Split(conn.Main{Header: [4]byte{byte(noise.TypeTransport)}, Least: noise.KeepaliveSize})
	}
	return n
}

// allowance is what a reader of such a socket may read. One owner.
type allowance struct {
	most  int // in a tick; 0: all
	tick  clock.Time
	taken int
}

// newAllowance is that of the reader of a lane.
func (d *Device) newAllowance(l conn.Lane) allowance {
	switch l {
	case conn.LaneAside:
		return allowance{most: asidePerTick * d.handshakeWorkers}
	case conn.LaneRest:
		return allowance{most: restPerTick}
	}
	return allowance{}
}

// laneOf is the lane of a receiver.
func laneOf(r conn.Receiver) conn.Lane {
	if l, ok := r.(conn.Laned); ok {
		return l.Lane()
	}
	return conn.LaneMain
}

// take notes that n datagrams were read at now, and tells how long not to read any more: until the tick
// ends, at most.
func (a *allowance) take(now clock.Time, n int) time.Duration {
	if a.most == 0 {
		return 0
	}
	if tick := now / timers.Tick; tick != a.tick {
		a.tick, a.taken = tick, 0
	}
	if a.taken += n; a.taken < a.most {
		return 0
	}
	return ((a.tick + 1) * timers.Tick).Sub(now)
}
