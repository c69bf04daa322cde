package tun

import (
	"errors"
	"os"

	"github.com/mdlayher/netlink"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// CreatePolling is Create where rtnetlink cannot be used.
func CreatePolling(name string, mtu int) (Device, error) {
	made, err := wgtun.CreateTUN(name, mtu)
	if err != nil {
		return nil, err
	}
	file, err := detach(made)
	if err != nil {
		return nil, err
	}
	d, err := newLinux(file, Options{})
	if err != nil {
		return nil, err
	}
	w := newWatcher(d)
	w.dial = func(*os.File, uint32) (*netlink.Conn, error) { return nil, errors.New("not allowed") }
	return d.start(w, mtu), nil
}

// OnFile is a device on any file that keeps the bounds of messages.
func OnFile(f *os.File, vnet bool) Device {
	d := &linuxDevice{file: f, sys: &kernel, vnet: vnet, events: make(chan Event), closing: make(chan struct{})}
	d.conn, _ = f.SyscallConn()
	d.setName("file")
	d.readers = []*reader{newReader(d, d.conn)}
	d.writers.New = func() any { return newWriter(d) }
	return d
}
