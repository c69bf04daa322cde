//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"culvert/internal/nstest"
)

// program is what is measured.
type program struct {
	nstest.Program
	version string
	floor   bool // started with its whole configuration as arguments, and without keys
}

func (p program) info() programInfo {
	return programInfo{Name: p.Name, Version: p.version, Command: filepath.Base(p.Args[0]), Floor: p.floor}
}

// defaultPrograms are culvert and wireguard-go; with all also Debian's
// wireguard-go, if it is installed, and the floor.
func defaultPrograms(dir string, all bool) ([]program, error) {
	both, err := nstest.Programs(dir)
	if err != nil {
		return nil, err
	}
	programs := []program{{Program: both[0], version: commit()}, {Program: both[1], version: nstest.WireGuardGoVersion}}
	if !all {
		return programs, nil
	}
	if path, err := exec.LookPath("wireguard-go"); err == nil {
		old := nstest.Program{Name: "wireguard-go (distribution)", Args: []string{path}}
		programs = append(programs, program{Program: old, version: versionOf(path)})
	} else {
		progress("no wireguard-go in PATH: only the pinned one is measured")
	}
	floor, err := buildFloor(dir)
	if err != nil {
		return nil, err
	}
	return append(programs, floor), nil
}

// buildFloor builds the forwarder without cryptography.
func buildFloor(dir string) (program, error) {
	path := filepath.Join(dir, "floor")
	if out, err := exec.Command("go", "build", "-o", path, "culvert/internal/bench/floor").CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("go build culvert/internal/bench/floor: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return program{Program: nstest.Program{Name: "floor", Args: []string{path}}, version: "culvert's tun and conn without cryptography", floor: true}, nil
}

// versionOf is the first line of what a daemon says with --version.
func versionOf(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, path, "--version").Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// parseProgram reads NAME=COMMAND; COMMAND is split at blanks.
func parseProgram(s string) (program, error) {
	p, err := nstest.ParseProgram(s)
	if err != nil {
		return program{}, err
	}
	return program{Program: p, version: versionOf(p.Args[0])}, nil
}
