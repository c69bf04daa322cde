//go:build linux

package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// WireGuardGoVersion is the wireguard-go the tests and the benchmark compare
// with.
const WireGuardGoVersion = "v0.0.0-20260522210424-ecfc5a8d5446"

// Culvert is this module's daemon: the one that the environment variable
// CULVERT names, else ./cmd/culvert built into dir. The working directory must
// be inside the module.
func Culvert(dir string) (Program, error) {
	if path := os.Getenv("CULVERT"); path != "" {
		return existing("culvert", path)
	}
	path := filepath.Join(dir, "culvert")
	cmd := exec.Command("go", "build", "-o", path, "culvert/cmd/culvert")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does: libc costs 1.5 MiB
	if out, err := cmd.CombinedOutput(); err != nil {
		return Program{}, fmt.Errorf("go build culvert/cmd/culvert: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return Program{Name: "culvert", Args: []string{path}}, nil
}

// WireGuardGo is wireguard-go: the one that the environment variable
// WIREGUARD_GO names, else WireGuardGoVersion, installed with the go command
// into the user's cache directory once.
func WireGuardGo() (Program, error) {
	if path := os.Getenv("WIREGUARD_GO"); path != "" {
		return existing("wireguard-go", path)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "culvert", "wireguard-go-"+WireGuardGoVersion)
	path := filepath.Join(dir, "wireguard")
	if _, err := os.Stat(path); err != nil {
		cmd := exec.Command("go", "install", "golang.zx2c4.com/wireguard@"+WireGuardGoVersion)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return Program{}, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return Program{Name: "wireguard-go", Args: []string{path}}, nil
}

func existing(name, path string) (Program, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Program{}, err
	}
	if _, err := exec.LookPath(path); err != nil {
		return Program{}, fmt.Errorf("%s: %w", name, err)
	}
	return Program{Name: name, Args: []string{path}}, nil
}
