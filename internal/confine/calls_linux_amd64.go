package confine

import "golang.org/x/sys/unix"

// What amd64 has of its own: calls that arm64 never had, and x32's numbers.
const (
	auditArch   = unix.AUDIT_ARCH_X86_64
	hasForeign  = true
	archSetFS   = 0x1002 // ARCH_SET_FS of asm/prctl.h: where a thread has its own memory
	haveSeccomp = true
)

var (
	alwaysHere = []uint32{unix.SYS_POLL}
	neverHere  = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MKNOD, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT}
	rulesHere  = []rule{{unix.SYS_ARCH_PRCTL, [][]test{{{0, all, archSetFS}}}}}
)
