//go:build linux

package nstest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// RunTool runs the main part of a tool that makes labs, and gives the status to exit
// with: 0 if ok, 3 if not, 1 with an error, which is printed. SIGINT and SIGTERM cancel
// ctx, remove all labs and end the process with 130.
func RunTool(name string, f func(ctx context.Context) (ok bool, err error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	unhook := context.AfterFunc(ctx, func() {
		fmt.Fprintf(os.Stderr, "%s: interrupted: removing everything\n", name)
		CloseAll()
		os.Exit(130)
	})
	defer unhook() // before stop, which cancels ctx, too
	ok, err := f(ctx)
	if ctx.Err() != nil {
		select {} // err is only the echo of the signal
	}
	if closed := CloseAll(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	case !ok:
		return 3
	}
	return 0
}

// Rival is the name of the program that ours is compared with.
const Rival = "wireguard-go"

// Programs are ours, see [Culvert], and [WireGuardGo].
func Programs(dir string) ([]Program, error) {
	ours, err := Culvert(dir)
	if err != nil {
		return nil, err
	}
	theirs, err := WireGuardGo()
	if err != nil {
		return nil, err
	}
	return []Program{ours, theirs}, nil
}

// ParseProgram reads NAME=COMMAND; COMMAND is split at blanks.
func ParseProgram(s string) (Program, error) {
	name, command, ok := strings.Cut(s, "=")
	args := strings.Fields(command)
	if !ok || name == "" || len(args) == 0 {
		return Program{}, fmt.Errorf("%q is not NAME=COMMAND", s)
	}
	return Program{Name: name, Args: args}, nil
}

// Against is the one of several programs that the others are compared with: the rival,
// or else the last; "" if there is only one.
func Against(names []string) string {
	if slices.Contains(names, Rival) {
		return Rival
	}
	if len(names) > 1 {
		return names[len(names)-1]
	}
	return ""
}
