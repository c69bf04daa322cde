package main

import (
	"fmt"
	"os"
	"sync"
)

// statm stays open, as a confined process opens nothing in /proc.
var statm = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/statm") })

// residentMemory is the memory of this process that is in use, in bytes, and how much of
// it is of files; 0 if the system does not tell (proc_pid_statm(5): pages).
func residentMemory() (all, files int64) {
	f, err := statm()
	if err != nil {
		return 0, 0
	}
	var text [128]byte // seven numbers, of which we want the first three
	n, _ := f.ReadAt(text[:], 0)
	var size int64
	if _, err := fmt.Sscan(string(text[:n]), &size, &all, &files); err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return all * page, files * page
}
