package confine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// attempts are what a program that was taken over might try, and what it should go
// on to be able to. Each undoes what it does, or it goes with the process.
var attempts = map[string]func(p plan) error{
	"read /etc/shadow": func(plan) error { _, err := os.ReadFile("/etc/shadow"); return err },
	"read /etc/passwd": func(plan) error { _, err := os.ReadFile("/etc/passwd"); return err },
	"read /proc/self":  func(plan) error { _, err := os.ReadFile("/proc/self/maps"); return err },
	"list /":           func(plan) error { _, err := os.ReadDir("/"); return err },
	"write elsewhere":  func(p plan) error { return os.WriteFile(filepath.Join(p.Dir, "else"), nil, 0o600) },
	"change elsewhere": func(p plan) error { return os.WriteFile(filepath.Join(p.Dir, "there"), []byte("x"), 0o600) },
	"truncate elsewhere": func(p plan) error {
		return unix.Truncate(filepath.Join(p.Dir, "there"), 0)
	},
	"make a directory elsewhere": func(p plan) error {
		defer os.Remove(filepath.Join(p.Dir, "new"))
		return os.Mkdir(filepath.Join(p.Dir, "new"), 0o700)
	},
	"make a device": func(p plan) error {
		path := filepath.Join(p.Dir, "state", "null")
		defer os.Remove(path)
		return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	},
	"open a device": func(plan) error { f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); f.Close(); return err },
	"a file where files are removed": func(p plan) error {
		path := filepath.Join(p.Dir, "sockets", "new")
		defer os.Remove(path)
		return os.WriteFile(path, nil, 0o600)
	},
	"remove where files are removed": func(p plan) error { return remove(filepath.Join(p.Dir, "sockets")) },
	"replace where files are replaced": func(p plan) error {
		dir := filepath.Join(p.Dir, "state")
		f, err := os.CreateTemp(dir, "x")
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		return errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, "name")))
	},
	"remove where files are replaced": func(p plan) error { return remove(filepath.Join(p.Dir, "state")) },
	"move between the two": func(p plan) error {
		from, to := filepath.Join(p.Dir, "state", "there"), filepath.Join(p.Dir, "sockets", "moved")
		defer os.Rename(to, from)
		return os.Rename(from, to)
	},
	"setuid":    func(plan) error { return unix.Setuid(65534) },
	"mount":     func(p plan) error { return unix.Mount("none", p.Dir, "tmpfs", 0, "") },
	"chroot":    func(p plan) error { return unix.Chroot("/") },
	"unshare":   func(plan) error { return unix.Unshare(unix.CLONE_NEWNET) },
	"hostname":  func(plan) error { return unix.Sethostname([]byte("x")) },
	"UDP":       func(plan) error { return listen("udp", ":0") },
	"low port":  func(plan) error { return listen("udp", "127.0.0.1:1") },
	"TCP":       func(plan) error { return bindTCP() },
	"allocated": func(plan) error { _ = make([]byte, 64<<20); return nil },
}

// remove removes one of the files of a directory that are there for that.
func remove(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "remove*")) // lists, where it may
	if err == nil && len(files) > 0 {
		return os.Remove(files[0])
	}
	for _, name := range []string{"remove1", "remove2", "remove3", "remove4"} {
		if _, err = os.Lstat(filepath.Join(dir, name)); err == nil {
			return os.Remove(filepath.Join(dir, name))
		}
	}
	return err
}

func listen(network, address string) error {
	c, err := net.ListenPacket(network, address)
	if err == nil {
		c.Close()
	}
	return err
}

// bindTCP does without package net, which asks for multipath TCP, and Landlock knows
// that not.
func bindTCP() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}

// refused tells what becomes of attempts; done, of those that are not named.
var refused = map[string]string{
	"read /etc/shadow": "EACCES", "read /etc/passwd": "EACCES", "read /proc/self": "EACCES", "list /": "EACCES",
	"write elsewhere": "EACCES", "change elsewhere": "EACCES", "truncate elsewhere": "EACCES", "make a directory elsewhere": "EACCES",
	"make a device": "EACCES", "open a device": "EACCES", "a file where files are removed": "EACCES", "move between the two": "EACCES",
	"setuid": "EPERM", "mount": "EPERM", "chroot": "EPERM", "unshare": "EPERM", "hostname": "EPERM",
	"TCP": "EACCES",
}

// newPlan makes the directories and files of attempts.
func newPlan(t *testing.T) plan {
	t.Helper()
	p := plan{Dir: t.TempDir(), Victim: startVictim(t)}
	p.Options = Options{
		Keep:      []string{"cap_net_admin", "cap_net_bind_service"},
		RemoveIn:  []string{filepath.Join(p.Dir, "sockets")},
		ReplaceIn: []string{filepath.Join(p.Dir, "state")},
	}
	for _, dir := range []string{"sockets", "state"} {
		if err := os.Mkdir(filepath.Join(p.Dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"there", "state/there"} {
		touch(t, filepath.Join(p.Dir, file))
	}
	for _, name := range []string{"remove1", "remove2", "remove3", "remove4"} {
		touch(t, filepath.Join(p.Dir, "sockets", name))
		touch(t, filepath.Join(p.Dir, "state", name))
	}
	return p
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each attempt ends as it should when confined, on a thread that was there before
// and one that came later, and succeeds when not.
func TestAttempts(t *testing.T) {
	needRoot(t)
	if version, why := probe(); version == 0 {
		t.Skip("needs Landlock: ", why)
	}
	for name := range refused {
		if attempts[name] == nil {
			t.Errorf("there is no attempt called %s", name)
		}
	}
	for name := range attempts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlan(t)
			if got := try(t, name, p); !slices.Equal(got, []string{done, done}) {
				t.Errorf("not confined: %q", got)
			}
			p.Confine = true
			want := []string{refused[name], refused[name]}
			if refused[name] == "" {
				want = []string{done, done}
			}
			if got := try(t, name, p); !slices.Equal(got, want) {
				t.Errorf("confined: %q, want %q", got, want)
			}
		})
	}
}
