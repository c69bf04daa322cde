package conn

import (
	"net"
	"os"
	"syscall"

	"culvert/internal/offload"
	"culvert/internal/rawfd"

	"golang.org/x/sys/unix"
)

// open makes one socket. What only makes it faster or nicer may fail; the mark
// may not, because without it packets would take a wrong way. join makes it one
// more on a port that sockets of ours share; with Options.Queues nothing comes until hold ends.
func (n *linuxNetwork) open(owner *linuxSockets, f family, port uint16, mark uint32, join bool) (*linuxSocket, error) {
	s := &linuxSocket{family: f, sys: n.sys, patience: sendPatience, counters: &owner.counters, log: owner.log}
	conn, err := n.sys.listen(f, port, func(c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = s.setup(int(fd), n.opts) }); err != nil {
			return err
		}
		if failed == nil && mark != 0 {
			failed = setMark(c, mark)
		}
		if failed == nil && n.opts.Queues > 1 {
			failed = hold(c)
		}
		if failed == nil && join {
			failed = setOption(c, unix.SO_REUSEPORT, 1)
		}
		return failed
	})
	if err != nil {
		return nil, err
	}
	if err := s.attach(conn); err != nil {
		return nil, err
	}
	return s, nil
}

// attach takes the socket over from package net, which would have the runtime's
// poller watch it.
func (s *linuxSocket) attach(conn *net.UDPConn) error {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	fd, failed := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if failed != nil {
		return os.NewSyscallError("fcntl", failed)
	}
	s.bound = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	s.raw, err = rawfd.New(fd)
	return err
}

// setup sets the options of a socket that is not bound yet.
func (s *linuxSocket) setup(fd int, opts Options) error {
	growBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, socketBuffer)
	growBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	for _, o := range familyOptions(s.family) {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			s.log.Debug("UDP socket option not available", "family", s.family, "option", o.what, "error", err)
		}
	}
	s.setupOffloads(fd, opts)
	return nil
}

func (s *linuxSocket) setupOffloads(fd int, opts Options) {
	if opts.NoGRO {
		s.gro.Forbid(offload.Option)
	} else if unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) != nil {
		s.gro.Forbid(offload.Unsupported)
	}
	// Reading UDP_SEGMENT tells whether the kernel knows it (4.18). UDP_GRO
	// cannot be read back before 5.12, so its being set has to do.
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	switch release := s.sys.release(); {
	case opts.NoGSO:
		s.gso.Forbid(offload.Option)
	case err != nil:
		s.gso.Forbid(offload.Unsupported)
	case !opts.ForceGSO && damagesGSO(release):
		s.gso.Forbid(offload.Broken)
		s.log.Warn("UDP segmentation offload is off: kernels of this version are known to damage what they segment", "family", s.family, "kernel", release)
	}
}

type socketOption struct {
	level, name, value int
	what               string
}

// familyOptions ask for the destination, interface and traffic class of what
// comes in, and let what goes out be fragmented: as with the kernel's
// WireGuard, DF is not set, so a path with a small MTU works.
func familyOptions(f family) []socketOption {
	if f == ipv4 {
		return []socketOption{
			{unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO"},
			{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, "IP_RECVTOS"},
			{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, "IP_MTU_DISCOVER"},
		}
	}
	return []socketOption{
		{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS"},
		{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT, "IPV6_MTU_DISCOVER"},
	}
}

// growBuffer sets a buffer size beyond the system's limit if it may, else as
// far as the limit goes.
func growBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}
