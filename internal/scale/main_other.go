//go:build !linux

// Command scale measures daemons in a network namespace, which only Linux
// has.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "scale: needs Linux: daemons run in network namespaces")
	os.Exit(1)
}
