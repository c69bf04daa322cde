//go:build !linux

// Command demo shows a tunnel between two network namespaces, which only Linux
// has.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "demo: needs Linux: it makes two hosts from network namespaces")
	os.Exit(1)
}
