//go:build unix && !race

package pages

import "golang.org/x/sys/unix"

// Get gives n bytes (n > 0), all zero, and nil if the system has none. They may
// hold no Go pointers, and are there until Free, whoever refers to them. Safe for
// concurrent use.
func Get(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	small(b)
	return b
}

// Free gives back what Get gave, and nothing less. Nobody may touch it any more, nor
// keep a pointer into it: the address may become the heap's.
func Free(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic("BUG: memory freed that was not got: " + err.Error())
	}
}
