package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// family is an address family.
type family int

const (
	ipv4 family = 4
	ipv6 family = 6
)

func (f family) String() string {
	if f == ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// network is what package net calls UDP over f. "udp6" sets IPV6_V6ONLY.
func (f family) network() string {
	if f == ipv4 {
		return "udp4"
	}
	return "udp6"
}

// familyOf is the family that reaches a.
func familyOf(a netip.Addr) family {
	if a.Is4() || a.Is4In6() {
		return ipv4
	}
	return ipv6
}

// portTries is how often another port is tried when port 0 was asked for
// and the port that IPv4 got is taken in IPv6 (kernel: udp_tunnel users retry
// 100 times).
const portTries = 100

// listenPair opens both families on one port. The result of a family the
// machine lacks is the zero value; one family is enough. On an error
// everything opened is closed again.
func listenPair[S any](open func(family, uint16) (S, error), closeSocket func(S) error, portOf func(S) uint16, port uint16) (v4, v6 S, err error) {
	var none S
	for try := 1; ; try++ {
		use := port
		v4, err4 := open(ipv4, port)
		switch {
		case err4 == nil:
			use = portOf(v4)
		case !isFamilyMissing(err4):
			return none, none, listenError(port, err4)
		}
		v6, err6 := open(ipv6, use)
		switch {
		case err6 == nil:
			return v4, v6, nil
		case isFamilyMissing(err6) && err4 == nil:
			return v4, none, nil
		}
		if err4 == nil {
			closeSocket(v4)
		}
		if port == 0 && errors.Is(err6, errAddrInUse) && try < portTries {
			continue
		}
		return none, none, listenError(use, errors.Join(err4, err6))
	}
}

func listenError(port uint16, err error) error {
	return fmt.Errorf("listen on UDP port %d: %w", port, err)
}

// listener is what listenUDP is.
type listener func(f family, port uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error)

// hasFamily reports whether a socket of f can be had now, on this port: where another program has
// that, opening both anew would fail, and take away the one there is.
func hasFamily(listen listener, f family, port uint16) bool {
	c, err := listen(f, port, func(syscall.RawConn) error { return nil })
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// listenUDP binds a socket to the wildcard address of f; setup is called
// before it is bound.
func listenUDP(f family, port uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return setup(c) }}
	pc, err := lc.ListenPacket(context.Background(), f.network(), fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	return pc.(*net.UDPConn), nil
}
