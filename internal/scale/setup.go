//go:build linux

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"culvert/device/config"
	"culvert/internal/load"
	"culvert/internal/nstest"
)

const (
	port     = 51820
	innerIP  = "100.64.0.1/10" // of the daemon's system
	sinkPort = 9               // where the system takes what clients send, and nobody reads it
)

// nearIP is innerIP without the length of the prefix.
var nearIP = netip.MustParsePrefix(innerIP).Addr()

// start makes a lab with a daemon that is up and has no peers.
func start(p nstest.Program) (lab *nstest.Lab, h *nstest.Host, err error) {
	if lab, err = nstest.New(); err != nil {
		return nil, nil, err
	}
	if h, err = lab.NewHost("daemon"); err == nil {
		err = bringUp(h, p, innerIP)
	}
	if err != nil {
		lab.Close()
	}
	return lab, h, err
}

// bringUp starts a daemon, with that inner address.
func bringUp(h *nstest.Host, p nstest.Program, inner string) error {
	if err := h.StartDaemon(p); err != nil {
		return err
	}
	return h.IP(nstest.AddAddress(inner, h.WG), "link set "+h.WG+" up")
}

// listening waits until the daemon's port is bound.
func listening(h *nstest.Host) error {
	if !nstest.Eventually(10*time.Second, func() bool { return h.Bound("udp", port) }) {
		return fmt.Errorf("port %d is not bound", port)
	}
	return nil
}

// configure configures a daemon with so many clients, which have that persistent keepalive
// in seconds, and others.
func configure(h *nstest.Host, n, keepalive int, others ...peer) (*load.Clients, error) {
	var private config.PrivateKey
	if _, err := base64.StdEncoding.Decode(private[:], []byte(h.Private)); err != nil {
		return nil, err
	}
	hub := load.Hub{Public: publicKey(h), Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	var c *load.Clients
	if n > 0 {
		var err error
		if c, err = load.New(hub, 1, n); err != nil {
			return nil, err
		}
	}
	u, err := dial(h.WG)
	if err != nil {
		return nil, err
	}
	defer u.close()
	u.putInterface(private, port)
	for i := range n {
		u.putPeer(peer{key: c.Public(i), inner: c.Inner(i), keepalive: keepalive})
	}
	for _, p := range others {
		u.putPeer(p)
	}
	if err := u.set(); err != nil {
		return nil, err
	}
	return c, listening(h)
}

func publicKey(h *nstest.Host) (k config.PublicKey) {
	if _, err := base64.StdEncoding.Decode(k[:], []byte(h.Public)); err != nil {
		panic("BUG: not a key: " + h.Public)
	}
	return k
}

// sink binds sinkPort in the namespace of the calling thread, so that the system drops
// what comes there and answers nothing.
func sink() (closing func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), unix.Bind(fd, &unix.SockaddrInet4{Port: sinkPort}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}
