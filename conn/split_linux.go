package conn

import (
	"encoding/binary"
	"errors"
	"net"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Split implements [Splitter].
//
// Each family has a socket for each lane on the port (SO_REUSEPORT), and a program of a few
// instructions tells the kernel which of them a datagram is for (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5). The
// first socket is bound as always, without SO_REUSEPORT, so it fails if anybody has the port. Where
// that cannot be had, and with Options.Queues, all stays as it was.
//
// All have UDP GRO, or none: the kernel merges datagrams before it runs the program (udp_gro_receive), and
// asks a socket that it chooses by a hash whether it may.
func (n *linuxNetwork) Split(main Main) Network {
	c := *n
	c.split = &main
	return &c
}

// splitOff opens the sockets of further lanes. After an error there are none.
func (n *linuxNetwork) splitOff(s *linuxSockets, mark uint32) (err error) {
	s.main = n.split
	defer func() {
		if err != nil {
			s.lanes((*linuxSocket).close)
			s.rest, s.aside, s.main = linuxPair{}, linuxPair{}, nil
		}
	}()
	join := func(first *linuxSocket, lane Lane) (*linuxSocket, error) {
		if first == nil {
			return nil, nil
		}
		if err := setOption(first.raw, unix.SO_REUSEPORT, 1); err != nil {
			return nil, err
		}
		another, err := n.open(s, first.family, first.port(), mark, true)
		if err != nil {
			return nil, err
		}
		another.lane = lane
		return another, nil
	}
	// The program gives their numbers, which are those of the order in which they come.
	for _, l := range []struct {
		lane Lane
		pair *linuxPair
	}{{LaneRest, &s.rest}, {LaneAside, &s.aside}} {
		if l.pair.v4, err = join(s.v4, l.lane); err != nil {
			return err
		}
		if l.pair.v6, err = join(s.v6, l.lane); err != nil {
			return err
		}
	}
	return s.Prefer(nil)
}

// Prefer implements [Preferring].
func (s *linuxSockets) Prefer(labels []Label) error {
	if s.main == nil {
		return errors.ErrUnsupported
	}
	program, err := bpf.Assemble(s.main.program(labels))
	if err != nil {
		return err
	}
	return s.linuxPair.each(func(sock *linuxSocket) error { return sock.sys.steer(sock.raw, program) })
}

// program gives the lane of a datagram, of which it sees the UDP payload.
func (m *Main) program(labels []Label) []bpf.Instruction {
	header, end := binary.BigEndian.Uint32(m.Header[:]), uint32(len(m.Header))
	lane := func(l Lane) bpf.Instruction { return bpf.RetConstant{Val: uint32(l)} }
	p := []bpf.Instruction{
		// What it cannot load is given to the first socket.
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: max(uint32(m.Least), 2*end), SkipTrue: 1},
		lane(LaneAside),
		bpf.LoadAbsolute{Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: header, SkipTrue: 1},
		lane(LaneAside),
	}
	if len(labels) == 0 {
		return append(p, lane(LaneMain))
	}
	p = append(p, bpf.LoadAbsolute{Off: end, Size: 4})
	for _, t := range labels[:min(len(labels), MaxLabels)] {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(t[:]), SkipTrue: 1}, lane(LaneMain))
	}
	return append(p, lane(LaneRest))
}

// steer gives the sockets that share a port the program that chooses one for each datagram.
func steer(c controller, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, x := range program {
		filter[i] = unix.SockFilter{Code: x.Op, Jt: x.Jt, Jf: x.Jf, K: x.K}
	}
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}); err != nil {
		return net.ErrClosed
	}
	return os.NewSyscallError("setsockopt", failed)
}

// Lane implements [Laned].
func (r *linuxReceiver) Lane() Lane { return r.sock.lane }
