//go:build unix

package ipc

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// waitLimit bounds what a test waits for; it is no measure.
const waitLimit = 10 * time.Second

// socketDir makes a directory for sockets, whose paths have 103 bytes on some
// systems: not below one with a long name, and without the test's.
func socketDir(t *testing.T) string {
	t.Helper()
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "ipc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustListen(t *testing.T, dir, name string) *Listener {
	t.Helper()
	l, err := ListenIn(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func isRemoved(t *testing.T, l *Listener) {
	t.Helper()
	select {
	case <-l.Removed():
	case <-time.After(waitLimit):
		t.Fatal("Removed is not closed")
	}
}

// A socket in a directory that was not there, whatever the umask.
func TestListenModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		parent := socketDir(t)
		dir := filepath.Join(parent, "wireguard")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { // whatever our own umask
			t.Fatal(err)
		}
		if umask != 0o777 {
			os.Remove(dir)
		}
		old := syscall.Umask(umask)
		l, err := ListenIn(dir, "wg0")
		syscall.Umask(old)
		if err != nil {
			if umask == 0o777 && os.Geteuid() != 0 {
				continue // not even the owner can work in what it makes
			}
			t.Fatalf("umask %03o: %v", umask, err)
		}
		for path, want := range map[string]fs.FileMode{l.Path(): fs.ModeSocket | 0o600, dir: fs.ModeDir | 0o755} {
			if info, err := os.Lstat(path); err != nil || info.Mode() != want {
				t.Errorf("umask %03o: %s: %v, %v; want %v", umask, path, info.Mode(), err, want)
			}
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("umask %03o: something is left behind: %v", umask, entries)
		}
		l.Close()
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("umask %03o: something is left after Close: %v", umask, entries)
		}
	}
}

func TestListenServes(t *testing.T) {
	dir := socketDir(t)
	l := mustListen(t, dir, "wg0")
	s := Serve(l, new(fakeDevice), nil)
	conn, err := net.Dial("unix", filepath.Join(dir, "wg0.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &talk{conn, bufio.NewReader(conn)}
	c.ask(t, "set=1\nfwmark=3\n\n", "errno=0\n")
	c.ask(t, "get=1\n\n", "listen_port=0\nfwmark=3\nerrno=0\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.reply(); err == nil {
		t.Error("the conversation goes on after Close")
	}
	select {
	case <-l.Removed():
		t.Error("our own Close counts as a removal")
	default:
	}
}

// A live socket is never replaced, a stale one is, and what is no socket is
// left alone.
func TestListenReplaces(t *testing.T) {
	dir := socketDir(t)
	live := mustListen(t, dir, "wg0")
	if _, err := ListenIn(dir, "wg0"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a live socket: %v", err)
	}
	if !live.ours() {
		t.Error("the live socket was replaced")
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "wg1.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	mustListen(t, dir, "wg1")
	file := filepath.Join(dir, "wg2.sock")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenIn(dir, "wg2"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("something is left behind: %v", entries)
	}
}

// A daemon that is killed while it makes its socket leaves a directory, which the next
// one removes; that of one that starts at the same time it leaves alone, and what only
// looks like it.
func TestListenSweeps(t *testing.T) {
	dir := socketDir(t)
	now := time.Now()
	for name, age := range map[string]time.Duration{".new1": time.Hour, ".new2": privateAge, ".new3": time.Second, "other": time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "s"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, ".news")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, now, now.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	mustListen(t, dir, "wg0")
	entries, err := os.ReadDir(dir)
	if got, want := fmt.Sprint(entries), "[d .new3/ - .news d other/ S wg0.sock]"; err != nil || got != want {
		t.Errorf("left are %s, %v; want %s", got, err, want)
	}
}

// An error names the socket, what is in the way, and what to do.
func TestListenErrorsSay(t *testing.T) {
	dir := socketDir(t)
	file := filepath.Join(dir, "wg0.sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustListen(t, dir, "wg1")
	for _, c := range []struct{ dir, name, want string }{
		{dir, "wg0", "uapi socket " + file + ": a file that is no socket is there: remove it: address already in use"},
		{dir, "wg1", "uapi socket " + filepath.Join(dir, "wg1.sock") + ": another daemon answers there: address already in use"},
		{file, "wg2", "uapi socket " + file + "/wg2.sock: " + file + " is no directory: remove it: not a directory"},
	} {
		if _, err := ListenIn(c.dir, c.name); err == nil || err.Error() != c.want {
			t.Errorf("%s in %s: %v; want %s", c.name, c.dir, err, c.want)
		}
	}
}

func TestListenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if l, err := ListenIn(dir, "wg0"); err == nil {
			l.Close()
			t.Errorf("%s is taken for a directory", dir)
		}
	}
}

// The ways a socket's file can go.
var removals = map[string]func(path string) error{
	"removed": os.Remove,
	"moved":   func(path string) error { return os.Rename(path, path+".old") },
	"replaced": func(path string) error {
		if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	},
	"with its directory": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
}

func TestRemoved(t *testing.T) {
	for name, remove := range removals {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(socketDir(t), "d")
			l := mustListen(t, dir, "wg0")
			if err := remove(l.Path()); err != nil {
				t.Fatal(err)
			}
			isRemoved(t, l)
			l.Close()
			if _, err := os.Lstat(l.Path()); name == "replaced" && err != nil {
				t.Errorf("Close removed what is not its own: %v", err)
			}
		})
	}
}

// Nothing but its removal ends a daemon.
func TestNotRemoved(t *testing.T) {
	dir := socketDir(t)
	l := mustListen(t, dir, "wg0")
	other := mustListen(t, dir, "wg1")
	for _, err := range []error{
		os.Chmod(l.Path(), 0o660),
		os.Chown(l.Path(), os.Getuid(), os.Getgid()),
		os.Chtimes(l.Path(), time.Now(), time.Now()),
		os.WriteFile(filepath.Join(dir, "wg0.sock.tmp"), nil, 0o600),
		os.Remove(filepath.Join(dir, "wg0.sock.tmp")),
		os.Link(l.Path(), filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The watcher of the neighbour hears of its removal after all that.
	os.Remove(other.Path())
	isRemoved(t, other)
	select {
	case <-l.Removed():
		t.Fatal("Removed is closed")
	default:
	}
	os.Remove(l.Path())
	isRemoved(t, l)
}

// Without a watch of the system the file is looked at now and then.
func TestRemovedByPolling(t *testing.T) {
	looks, told := 0, make(chan struct{})
	w := &watch{done: make(chan struct{})}
	w.start(func() bool { looks++; return looks > 1 }, func() { close(told) })
	<-told
	w.close()
}
