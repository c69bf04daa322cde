//go:build linux

// Command demo is what `make run` shows: two hosts on this machine (network
// namespaces), a daemon on each, and real traffic through the tunnel between
// them. Everything is removed at the end.
//
//	go run ./internal/demo [-culvert PATH] [-seconds N]
//
// It runs as root, or as anybody where user namespaces are permitted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"culvert/internal/nstest"
)

func main() {
	culvert := flag.String("culvert", "", "`path` of the daemon; built from ./cmd/culvert if empty")
	seconds := flag.Int("seconds", 3, "length of the throughput measurement in `seconds`")
	flag.Parse()
	if flag.NArg() > 0 || *seconds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if *culvert != "" {
		os.Setenv("CULVERT", *culvert)
	}
	if !nstest.Root() {
		os.Exit(withoutRoot())
	}
	if status := nstest.RunTool("demo", func(context.Context) (bool, error) {
		err := prepare()
		if err == nil {
			err = show(*seconds)
		}
		return true, err
	}); status != 0 {
		os.Exit(status)
	}
	fmt.Println("\nDone; namespaces, interfaces, daemons and sockets are removed.")
}

// packages are the programs the demonstration calls and the packages of Debian
// and Ubuntu that have them.
var packages = map[string]string{"ip": "iproute2", "wg": "wireguard-tools", "ping": "iputils-ping", "iperf3": "iperf3"}

// prepare makes sure that all is there; absent programs are installed where
// that is possible.
func prepare() error {
	if err := privateSockets(); err != nil {
		return err
	}
	if absent := nstest.MissingPrograms("ip", "wg", "ping", "iperf3"); len(absent) > 0 {
		install(absent)
	}
	return nstest.Missing("ip", "wg", "ping", "iperf3")
}

// install tries apt-get; what is then still missing is named by prepare.
func install(absent []string) {
	if _, err := exec.LookPath("apt-get"); err != nil || rootless() {
		return
	}
	args := []string{"install", "-y", "--no-install-recommends"}
	for _, program := range absent {
		args = append(args, packages[program])
	}
	for _, args := range [][]string{{"update"}, args} {
		step("apt-get " + strings.Join(args, " "))
		cmd := exec.Command("apt-get", append([]string{"-qq"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "demo: apt-get:", err)
		}
	}
}
