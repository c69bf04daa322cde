package main

import (
	"fmt"
	"os"
)

// residentMemory is the memory of this process that is in use, in bytes; 0 if
// the system does not tell (proc_pid_statm(5): pages).
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}
