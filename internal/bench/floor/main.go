//go:build linux

// Command floor forwards between a TUN and UDP without any cryptography, over
// the same two packages as the daemon: what a WireGuard daemon with
// cryptography and rules that cost nothing could reach. Datagrams have the
// shape of WireGuard's transport messages (16 bytes, the packet padded to 16,
// 16 bytes) so that the network sees the same.
//
//	floor IFNAME PORT REMOTE
//
// Nothing is checked: it is for a network of one's own.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"culvert/conn"
	"culvert/tun"
)

// The shape of a datagram, in bytes.
const (
	header = tun.Headroom
	tag    = 16
	mtu    = 1420
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: floor IFNAME PORT REMOTE")
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	remote, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return err
	}
	sockets, err := conn.System(conn.Options{}).Listen(uint16(port), 0)
	if err != nil {
		return err
	}
	device, err := tun.Create(args[0], mtu, tun.Options{})
	if err != nil {
		return err
	}
	ended := make(chan error)
	for _, r := range sockets.Receivers() {
		go func() { ended <- inbound(r, device) }() // ends with the process
	}
	for _, r := range device.Readers() {
		go func() { ended <- outbound(r, sockets, &conn.Endpoint{Remote: remote}) }() // ends with the process
	}
	go func() { // ends with the process
		for range device.Events() { // somebody must listen
		}
	}()
	return <-ended
}
