//go:build !amd64

package x25519

const (
	lanes = 1
	least = 1
)

func chosen() bool { return false }

func multiplyLanes([]Product) { panic("BUG: x25519: there is no kernel") }
