package conn

import (
	"net"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Split implements [Splitter].
//
// Each family has a second socket on the port (SO_REUSEPORT), and a program of three
// instructions tells the kernel which of them a datagram is for (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5). The
// first socket is bound as always, without SO_REUSEPORT, so it fails if anybody has the port. Where
// that cannot be had, and with Options.Queues, all stays as it was.
//
// Both have UDP GRO, or neither: the kernel merges datagrams before it runs the program (udp_gro_receive), and
// asks a socket that it chooses by a hash whether it may.
func (n *linuxNetwork) Split(first byte) Network {
	c := *n
	c.split = &first
	return &c
}

// splitOff opens the second sockets. After an error there are none.
func (n *linuxNetwork) splitOff(s *linuxSockets, mark uint32) (err error) {
	defer func() {
		if err != nil {
			s.aside.each((*linuxSocket).close)
			s.aside = linuxPair{}
		}
	}()
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Size: 1}, // of the UDP payload
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(*n.split), SkipTrue: 1},
		bpf.RetConstant{Val: 0}, // the sockets are numbered as they came
		bpf.RetConstant{Val: 1},
	})
	if err != nil {
		return err
	}
	join := func(first *linuxSocket) (*linuxSocket, error) {
		if first == nil {
			return nil, nil
		}
		if err := setOption(first.raw, unix.SO_REUSEPORT, 1); err != nil {
			return nil, err
		}
		second, err := n.open(s, first.family, first.port(), mark, true)
		if err != nil {
			return nil, err
		}
		second.aside = true
		return second, n.sys.steer(first.raw, program)
	}
	if s.aside.v4, err = join(s.v4); err != nil {
		return err
	}
	s.aside.v6, err = join(s.v6)
	return err
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

// Aside implements [Aside].
func (r *linuxReceiver) Aside() bool { return r.sock.aside }
