package tun

import (
	"errors"
	"os"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

func createFromFile(*os.File, int) (wgtun.Device, error) {
	return nil, errors.New("a TUN interface cannot be inherited on Windows")
}
