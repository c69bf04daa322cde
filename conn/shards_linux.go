package conn

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Several sockets on one port (SO_REUSEPORT): the kernel gives each datagram to
// one of them by a hash of both addresses and ports, so what a peer sends is
// all read by one receiver, in order, for as long as neither address changes and
// the sockets stay the same. These three steps see to that, and to nobody
// sharing the port with us unasked:
//
//  1. The first socket is bound without SO_REUSEPORT: it fails if anybody has
//     the port, also sockets that would share it (another daemon's). Only when
//     it is bound it is made one that shares.
//  2. The others are bound with it. From the first to the last every socket has
//     a filter that drops all: none may get what another would get when all
//     are there.
//  3. The filters go.
//
// What the kernel does not prevent: a program of the same user id that sets
// SO_REUSEPORT before it binds gets a share. Our own does not, by step 1.

// share opens the other sockets, where more than one is wanted.
func (n *linuxNetwork) share(s *linuxSockets, mark uint32) error {
	if n.opts.Queues <= 1 {
		return nil
	}
	if err := s.each(func(sock *linuxSocket) error { return setOption(sock.raw, unix.SO_REUSEPORT, 1) }); err != nil {
		return err
	}
	join := func(first *linuxSocket) (*linuxSocket, error) {
		if first == nil {
			return nil, nil
		}
		return n.open(s, first.family, first.port(), mark, true)
	}
	for range n.opts.Queues - 1 {
		v4, err := join(s.v4)
		if err != nil {
			return err
		}
		s.more = append(s.more, linuxPair{v4: v4})
		if s.more[len(s.more)-1].v6, err = join(s.v6); err != nil {
			return err
		}
	}
	return s.each(func(sock *linuxSocket) error { return setOption(sock.raw, unix.SO_DETACH_FILTER, 0) })
}

// shard is the pair with that number, counted round.
func (s *linuxSockets) shard(i int) linuxPair {
	if i %= 1 + len(s.more); i > 0 {
		return s.more[i-1]
	}
	return s.linuxPair
}

// hold keeps datagrams from a socket that is not bound yet, until its filter
// is detached.
func hold(c controller) error {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	}); err != nil {
		return net.ErrClosed
	}
	return os.NewSyscallError("setsockopt", failed)
}

// setOption sets an option of SOL_SOCKET.
func setOption(c controller, name, value int) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, name, value) }); err != nil {
		return net.ErrClosed
	}
	return os.NewSyscallError("setsockopt", failed)
}
