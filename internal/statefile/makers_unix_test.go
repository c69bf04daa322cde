//go:build unix

package statefile

import (
	"os"

	"golang.org/x/sys/unix"
)

// makers make what is at the place of a file and is none.
var makers = map[string]func(path string) error{
	"a pipe that nobody writes": func(path string) error { return unix.Mkfifo(path, 0o600) },
	"what never ends":           func(path string) error { return os.Symlink("/dev/zero", path) },
	"a directory":               func(path string) error { return os.Mkdir(path, 0o700) },
}
