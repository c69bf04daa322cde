package chachapoly

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Nothing is read or written beyond a message, before or behind.
func TestStaysWithinMessages(t *testing.T) { each(t, testStaysWithinMessages) }

func testStaysWithinMessages(t *testing.T, kernel *Kernel) {
	const page = 4096
	mem, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	for _, guard := range []int{0, 2 * page} {
		if err := unix.Mprotect(mem[guard:guard+page], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	var k Key
	k.Init(&[KeySize]byte{1})
	for n := range 1600 {
		for _, buf := range [][]byte{mem[page : page+n+Overhead], mem[2*page-n-Overhead : 2*page]} {
			m := []Message{{Buf: buf[:len(buf):len(buf)], Counter: uint64(n)}}
			kernel.Seal(&k, m)
			if kernel.Open(&k, m); m[0].Bad {
				t.Fatalf("%d bytes do not open", n)
			}
		}
	}
}
