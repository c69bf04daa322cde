//go:build linux

package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing says what this process lacks to make labs, or is nil: the right to
// make network namespaces, /dev/net/tun, and the named programs.
func Missing(programs ...string) error {
	var errs []error
	if err := onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }); err != nil {
		errs = append(errs, fmt.Errorf("no permission to make network namespaces (%w): run as root", err))
	}
	if err := openTUN(); err != nil {
		errs = append(errs, err)
	}
	if absent := MissingPrograms(programs...); len(absent) > 0 {
		errs = append(errs, fmt.Errorf("not installed: %s", strings.Join(absent, ", ")))
	}
	return errors.Join(errs...)
}

// openTUN checks that the TUN device can be opened.
func openTUN() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open /dev/net/tun (%w): load the tun module, or give the container that device", err)
	}
	return unix.Close(fd)
}

// MissingPrograms lists those that are not in PATH.
func MissingPrograms(programs ...string) (absent []string) {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			absent = append(absent, p)
		}
	}
	return absent
}

// Root reports whether this process runs with user id 0 (possibly mapped).
func Root() bool { return os.Geteuid() == 0 }
