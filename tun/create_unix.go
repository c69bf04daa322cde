//go:build darwin || freebsd || openbsd

package tun

import (
	"os"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

func createFromFile(f *os.File, mtu int) (wgtun.Device, error) {
	return wgtun.CreateTUNFromFile(f, mtu)
}
