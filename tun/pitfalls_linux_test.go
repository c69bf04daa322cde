package tun

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Which errors of a super-packet make its packets go one by one: EINVAL is what
// Linux 6.6.44 and some vendors' kernels answer. TestGovernor does it with one
// of them.
func TestMergeFaults(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{
		unix.EINVAL: true, unix.EIO: true, unix.EMSGSIZE: true, unix.EOPNOTSUPP: true,
		unix.EBADFD: false, unix.ENOBUFS: false, 0: false,
	} {
		if isMergeFault(errno) != want {
			t.Errorf("%v is due to merging: %v", errno, !want)
		}
	}
}
