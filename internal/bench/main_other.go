//go:build !linux

// Command bench measures tunnels between two network namespaces, which only Linux
// has.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux: it makes two hosts from network namespaces")
	os.Exit(1)
}
