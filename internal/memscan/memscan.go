//go:build linux

// Package memscan searches the memory of a process for secrets that should not be there any more. It is
// for tests, and itself keeps what it looks for masked, so that a process can search its own.
package memscan

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mask is what every byte of a needle is xored with.
const mask = 0xa5

// prefix is how many bytes of a needle are looked for in clear, in bytes: less than half of the shortest one.
const prefix = 8

// Needle is something that is looked for.
type Needle struct {
	name   string
	masked []byte
}

// newNeedle is size bytes of what encode writes, which has room for longest. They are masked where they were
// written: no stack has them, of which a copy would stay when it grows.
func newNeedle(name string, size int, encode func(to []byte)) Needle {
	n := Needle{name, make([]byte, longest)}
	encode(n.masked)
	for i := range n.masked {
		n.masked[i] ^= mask
	}
	n.masked = n.masked[:size]
	return n
}

// matches compares without a copy in clear.
func (n *Needle) matches(b []byte) bool {
	for i, x := range n.masked {
		if b[i] != x^mask {
			return false
		}
	}
	return true
}

// Forms is in how many forms Key looks for each half of a key.
const Forms = 3

// longest is the size of the longest form of half a key, in bytes.
const longest = 32

// Key gives the needles of a key of 32 bytes, which the caller may wipe: each half as it is, in hexadecimal, and
// in base64 (which can be cut at multiples of 3 only, and of whose last characters one is in part and one all padding).
// So a copy is found of which half is overwritten.
func Key(name string, key *[32]byte) []Needle {
	raw := func(half []byte) func([]byte) {
		return func(to []byte) {
			//lint:ignore S1001 copy takes vector registers, which a signal may save somewhere
			for i, x := range half {
				to[i] = x
			}
		}
	}
	inHex := func(half []byte) func([]byte) { return func(to []byte) { hex.Encode(to, half) } }
	in64 := func(half []byte) func([]byte) { return func(to []byte) { base64.StdEncoding.Encode(to, half) } }
	return []Needle{
		newNeedle(name+", first half", 16, raw(key[:16])),
		newNeedle(name+", second half", 16, raw(key[16:])),
		newNeedle(name+", first half in hexadecimal", 32, inHex(key[:16])),
		newNeedle(name+", second half in hexadecimal", 32, inHex(key[16:])),
		newNeedle(name+", first half in base64", 20, in64(key[:15])),
		newNeedle(name+", second half in base64", 22, in64(key[15:])),
	}
}

// A Hit is where a needle was found.
type Hit struct {
	Needle  string
	Address uintptr
	Mapping string // the line of /proc/PID/maps, without addresses
}

func (h Hit) String() string { return fmt.Sprintf("%s at %#x (%s)", h.Needle, h.Address, h.Mapping) }

// chunk is how much is looked at in one go, in bytes.
const chunk = 1 << 20

// tooLarge is a mapping that is no memory in use: the race detector maps terabytes.
const tooLarge = 1 << 36

// Scan searches all memory of a process that can be written for needles, and gives the first hit of each in each
// mapping. It wants root, unless the process is this one.
func Scan(pid int, needles []Needle) (hits []Hit, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer pages.Close()
	// Not the heap's memory: what is read into it would be found, and stay.
	buf, err := unix.Mmap(-1, 0, chunk+64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(buf)
	s := scan{mem: mem, pages: pages, needles: needles, buf: buf}
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uintptr
		var perm string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perm); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		if perm[:2] != "rw" || to-from > tooLarge {
			continue
		}
		_, rest, _ := strings.Cut(lines.Text(), " ")
		s.mapping(from, to, strings.Join(strings.Fields(rest), " "))
		clear(buf)
	}
	if s.read == 0 {
		return nil, fmt.Errorf("no memory of process %d can be read", pid)
	}
	return s.hits, lines.Err()
}

// scan is a search under way.
type scan struct {
	mem     *os.File
	pages   *os.File
	needles []Needle
	buf     []byte
	entries [8 * (chunk/4096 + 1)]byte
	read    int64
	hits    []Hit
}

// mapping looks through a mapping. What cannot be read ([vvar], or what is gone) has nothing.
func (s *scan) mapping(from, to uintptr, name string) {
	found := make([]bool, len(s.needles))
	own := uintptr(unsafe.Pointer(&s.buf[0]))
	for at := from; at < to; at += chunk {
		if !s.used(at, min(at+uintptr(len(s.buf)), to)) {
			continue
		}
		b := s.buf[:min(uintptr(len(s.buf)), to-at)]
		n, _ := s.mem.ReadAt(b, int64(at))
		s.read += int64(n)
		b = b[:n]
		if own < at+uintptr(n) && at < own+uintptr(len(s.buf)) { // our own buffer, part of another mapping
			lo, hi := max(own, at)-at, min(own+uintptr(len(s.buf))-at, uintptr(n))
			clear(b[lo:hi])
		}
		for i := range s.needles {
			if !found[i] {
				if at, ok := s.needles[i].in(b, at); ok {
					found[i] = true
					s.hits = append(s.hits, Hit{s.needles[i].name, at, name})
				}
			}
		}
	}
}

// used reports whether there is memory between two addresses: reading what was never written makes some.
func (s *scan) used(from, to uintptr) bool {
	const present, swapped = 1 << 63, 1 << 62 // Linux, Documentation/admin-guide/mm/pagemap.rst
	page := uintptr(os.Getpagesize())
	entries := s.entries[:8*((to-from+page-1)/page)]
	n, _ := s.pages.ReadAt(entries, int64(from/page*8))
	for ; n >= 8; n -= 8 {
		if binary.NativeEndian.Uint64(entries[n-8:])&(present|swapped) != 0 {
			return true
		}
	}
	return false
}

// in looks for n in b, which is at address at.
func (n *Needle) in(b []byte, at uintptr) (uintptr, bool) {
	var first [prefix]byte
	for i := range first {
		first[i] = n.masked[i] ^ mask
	}
	for from := 0; ; from++ {
		i := bytes.Index(b[from:], first[:])
		if i < 0 || len(b)-from-i < len(n.masked) {
			return 0, false
		}
		if from += i; n.matches(b[from:]) {
			return at + uintptr(from), true
		}
	}
}
