//go:build linux

package nstest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Main is main of a tool that makes labs. parse makes options of the command line, with
// [ParseFlags]: after -help the status is 0, after a mistake 2. Else it is that of
// [RunTool].
func Main[O any](name string, parse func(args []string) (O, error), run func(ctx context.Context, o O) (ok bool, err error)) {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (see -help)\n", name, err)
		os.Exit(2)
	}
	os.Exit(RunTool(name, func(ctx context.Context) (bool, error) { return run(ctx, o) }))
}

// ParseFlags parses args. -help prints to standard output the usage, the flags, and more;
// its error is flag.ErrHelp. A mistake is an error and prints nothing.
func ParseFlags(f *flag.FlagSet, args []string, usage, more string) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		f.SetOutput(os.Stdout)
		fmt.Println("usage:", usage)
		f.PrintDefaults()
		fmt.Print(more)
	}
	return err
}

// Writable tells before hours of work whether files can be written after them; an empty
// name is none. What is in them stays.
func Writable(files ...string) error {
	for _, name := range files {
		if name == "" {
			continue
		}
		_, before := os.Stat(name)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		f.Close()
		if errors.Is(before, fs.ErrNotExist) {
			os.Remove(name)
		}
	}
	return nil
}

// WriteJSON writes v to a file, for people and programs.
func WriteJSON(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

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
