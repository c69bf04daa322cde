package main

import (
	"os"
	"strings"
)

// cpuModel is the name that the processor gives itself. Not every architecture's
// has one.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return unknownCPU
}
