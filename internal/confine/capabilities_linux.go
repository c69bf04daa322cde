package confine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// A capability belongs to a thread, and the kernel changes those of one at a time.
// The package cap makes each call on all threads: by the runtime's
// syscall.AllThreadsSyscall, and in a program with cgo, where there is none, by
// its own way.

// remaining is the set of capabilities to have from now on: those of keep that are
// permitted. None is inheritable.
func remaining(keep []string) (*cap.Set, error) {
	now, next := cap.GetProc(), cap.NewSet()
	for _, name := range keep {
		v, err := cap.FromName(name)
		if err != nil {
			return nil, fmt.Errorf("confine: BUG: %s: %w", name, err)
		}
		has, err := now.GetFlag(cap.Permitted, v)
		if err != nil {
			return nil, fmt.Errorf("confine: %s: %w", name, err)
		}
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := next.SetFlag(flag, has, v); err != nil {
				return nil, fmt.Errorf("confine: %s: %w", name, err)
			}
		}
	}
	return next, nil
}

// bound takes all but those of next from the bounding set, which limits what a
// program can get by running another, and all from the ambient set. It reports
// false where CAP_SETPCAP is missing, as it is for whoever had little to start with.
func bound(next *cap.Set) (bool, error) {
	if err := cap.ResetAmbient(); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: before Linux 4.3
		return false, fmt.Errorf("confine: empty the ambient set: %w", err)
	}
	for v := range cap.MaxBits() {
		if stays, err := next.GetFlag(cap.Permitted, v); err != nil || stays {
			continue
		}
		if in, err := cap.GetBound(v); err != nil || !in {
			continue
		}
		switch err := cap.DropBound(v); {
		case errors.Is(err, unix.EPERM):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("confine: drop %s from the bounding set: %w", v, err)
		}
	}
	return true, nil
}

// become makes the process another user's. What was permitted stays so until the
// capabilities are set.
func become(u User) error {
	if err := cap.SetGroups(u.GID); err != nil {
		return fmt.Errorf("confine: take the group of user %s, which needs CAP_SETGID: %w", u.Name, err)
	}
	if err := cap.SetUID(u.UID); err != nil {
		return fmt.Errorf("confine: become user %s, which needs CAP_SETUID: %w", u.Name, err)
	}
	// The kernel has just set this to fs.suid_dumpable, which systemd-coredump makes 2: dumps for root.
	if _, err := cap.Prctlw(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: forbid core dumps: %w", err)
	}
	return nil
}

// effective are the names of the capabilities that this thread has.
func effective() ([]string, error) {
	now, names := cap.GetProc(), []string{}
	for v := range cap.MaxBits() {
		has, err := now.GetFlag(cap.Effective, v)
		if err != nil {
			return nil, fmt.Errorf("confine: %s: %w", v, err)
		}
		if has {
			names = append(names, v.String())
		}
	}
	return names, nil
}
