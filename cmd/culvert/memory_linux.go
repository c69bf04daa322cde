package main

import (
	"fmt"
	"os"
)

// residentMemory is the memory of this process that is in use, in bytes, and how much of
// it is of files; 0 if the system does not tell (proc_pid_statm(5): pages).
func residentMemory() (all, files int64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	var size int64
	if _, err := fmt.Sscan(string(text), &size, &all, &files); err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return all * page, files * page
}
