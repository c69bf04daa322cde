//go:build !linux

package tun

import (
	"fmt"
	"os"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// Create makes the interface name with the given MTU. The options are about
// Linux.
func Create(name string, mtu int, opts Options) (Device, error) {
	if opts.Queues > 1 {
		return nil, errOneQueue
	}
	d, err := wgtun.CreateTUN(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("tun: create %q: %w", name, err)
	}
	return Adapt(d), nil
}

// FromFile takes over f, an open TUN queue with its interface (WG_TUN_FD).
func FromFile(f *os.File, mtu int, opts Options) (Device, error) {
	if opts.Queues > 1 {
		f.Close()
		return nil, errOneQueue
	}
	d, err := createFromFile(f, mtu)
	if err != nil {
		return nil, fmt.Errorf("tun: inherited file: %w", err)
	}
	return Adapt(d), nil
}
