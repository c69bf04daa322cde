// Command culvert is a userspace WireGuard daemon: it makes the interface named
// on its command line, which wg(8), wg-quick(8) and ip(8) then configure. See
// culvert(8), packaging/culvert.8.
//
// This package is glue: flags, the way into the background, signals, and word
// to the service manager. Its goroutines: one that cycles the log level and logs
// counters when asked to, ends with the process.
package main

import (
	"fmt"
	"os"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// run does everything and gives the exit code.
func run(args []string) int {
	args = plainWords(args)
	if len(args) > 0 && args[0] == statusCommand {
		return runStatus(args[1:])
	}
	if len(args) > 0 && args[0] == benchCommand {
		return runBench(args[1:])
	}
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v; see culvert --help\n", err)
		return exitUsage
	}
	harden()
	parent, err := adopt(&o)
	if err == nil {
		err = o.checkOpen()
	}
	if err == nil && !o.Foreground && parent == nil {
		err = daemonize(&o)
	} else if err == nil {
		err = serve(&o, parent)
	}
	if err == nil {
		return exitOK
	}
	if parent == nil || parent.tell(err.Error()) != nil {
		fmt.Fprintf(os.Stderr, "culvert: %v\n", err)
	}
	return exitFailure
}
