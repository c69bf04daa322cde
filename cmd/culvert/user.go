package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"culvert/internal/confine"
)

// lookUpUser looks up the user to become, by name or number.
func (o *options) lookUpUser() error {
	if o.User == "" {
		return nil
	}
	if o.NoConfine {
		return errors.New("is a part of what --no-confine (CULVERT_NO_CONFINE) turns off: give only one of them")
	}
	u, err := user.Lookup(o.User)
	if err != nil {
		if u, _ = user.LookupId(o.User); u == nil {
			return err
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil { // as on Windows
		return fmt.Errorf("%s has no numbers of a user and a group: %w", o.User, err)
	}
	o.user = &confine.User{Name: u.Username, UID: uid, GID: gid}
	return nil
}

// giveDir makes a user the owner of the state directory, unless something else is
// kept there: it may not be ours to give. The directory alone is given, no file in it:
// whoever has the directory may put other things in their place.
func giveDir(dir string, to *confine.User) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if closedTo(up, to.UID) {
			return fmt.Errorf("user %s cannot enter %s: give a directory that the user can reach", to.Name, up)
		}
		if up == filepath.Dir(up) {
			break
		}
	}
	if owned(d, to.UID) {
		return nil
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.Contains(name, ".stamp") {
			return fmt.Errorf("%s is not the directory of user %s, and has other files than culvert's (%s): give the user a directory", dir, to.Name, name)
		}
	}
	return d.Chown(to.UID, to.GID)
}

// tryDir sees whether files can be made in the state directory, as they are to be
// later: else nobody would hear of it but who asks for the status. A lack of room is
// no mistake, and may pass.
func tryDir(dir string) error {
	f, err := os.CreateTemp(dir, "try.stamp.*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("--state-dir (CULVERT_STATE_DIR): no files can be made there, as the user culvert runs as: %w", err)
	}
	return nil
}
