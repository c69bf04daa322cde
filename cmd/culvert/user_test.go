//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/internal/confine"
)

// A user is known by name or number, and only where it can be taken.
func TestLookUpUser(t *testing.T) {
	for _, name := range []string{"root", "0"} {
		o := options{User: name}
		if err := o.lookUpUser(); err != nil || o.user == nil || *o.user != (confine.User{Name: "root"}) {
			t.Errorf("%s: %+v, %v", name, o.user, err)
		}
	}
	for _, o := range []options{{User: "no such user"}, {User: "4000000000"}, {User: "-1"}, {User: "root", NoConfine: true}} {
		if err := o.lookUpUser(); err == nil || o.user != nil {
			t.Errorf("%+v is taken", o)
		}
	}
	var o options
	if err := o.lookUpUser(); err != nil || o.user != nil {
		t.Errorf("%+v, %v", o.user, err)
	}
}

// A directory is given away only if it is culvert's, and no file in it.
func TestGiveDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give anything away")
	}
	nobody := &confine.User{Name: "nobody", UID: 65534, GID: 65534}
	dir := t.TempDir() // whose parent is ours, and closed
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	for up := dir; up != "/"; up = filepath.Dir(up) {
		if closedTo(up, nobody.UID) {
			t.Skip("needs a directory for temporary files that others can enter, unlike ", up)
		}
	}
	stamp := filepath.Join(dir, "wg0.stamp")
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	isNobodys := func(path string) bool {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return owned(f, nobody.UID)
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := giveDir(dir, nobody); err == nil || !strings.Contains(err.Error(), "other") || isNobodys(dir) {
		t.Errorf("given with other files: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := giveDir(dir, nobody); err != nil || !isNobodys(dir) || isNobodys(stamp) {
		t.Errorf("not given, or files too: %v", err)
	}
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := giveDir(dir, nobody); err != nil {
		t.Errorf("the user's own: %v", err)
	}
	if err := giveDir(filepath.Join(dir, "missing"), nobody); err == nil {
		t.Error("what is not there is given")
	}
	// One that the user could not reach: the reason names what is in the way.
	private := filepath.Join(t.TempDir(), "private")
	inside := filepath.Join(private, "a", "b")
	if err := errors.Join(os.MkdirAll(inside, 0o755), os.Chmod(private, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := giveDir(inside, nobody); err == nil || !strings.Contains(err.Error(), "cannot enter "+private+":") || isNobodys(inside) {
		t.Errorf("given within what is closed: %v", err)
	}
	for _, mode := range []os.FileMode{0o701, 0o710} {
		if err := os.Chmod(private, mode); err != nil {
			t.Fatal(err)
		}
		if closedTo(private, nobody.UID) {
			t.Errorf("mode %03o is taken for closed", mode)
		}
	}
	if err := errors.Join(os.Chown(private, nobody.UID, nobody.GID), os.Chmod(private, 0o700)); err != nil || closedTo(private, nobody.UID) {
		t.Errorf("the user's own is taken for closed, or %v", err)
	}
}
