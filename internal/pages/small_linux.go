//go:build !race

package pages

import "golang.org/x/sys/unix"

// small keeps the system from backing b with huge pages, of which it would touch
// 2 MiB for one packet. A kernel without them refuses, which is as good.
func small(b []byte) { _ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) }
