//go:build !linux

// Command soak runs daemons in network namespaces, which only Linux has.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "soak: needs Linux: daemons run in network namespaces")
	os.Exit(1)
}
