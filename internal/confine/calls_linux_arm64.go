package confine

import "golang.org/x/sys/unix"

// What arm64 has of its own: nothing.
const (
	auditArch   = unix.AUDIT_ARCH_AARCH64
	hasForeign  = false
	haveSeccomp = true
)

var (
	alwaysHere []uint32
	neverHere  []uint32
	rulesHere  []rule
)
