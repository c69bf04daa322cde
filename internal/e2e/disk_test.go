//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"culvert/internal/nstest"
)

// withDisk starts left's daemon with a file system of its own for its state, of 64
// KiB, and tells where that is found from here.
func (p *pair) withDisk(t *testing.T, state string) (seen string) {
	t.Helper()
	disk := filepath.Join(p.lab.Dir, "disk")
	must(t, os.Mkdir(disk, 0o700))
	script := "mount -t tmpfs -o size=64k none " + disk + " && mkdir -p " + filepath.Join(disk, state) + " && exec " + strings.Join(daemon(p.left.WG), " ")
	d, err := p.left.Start(nstest.Command{
		Args:        []string{"sh", "-c", script},
		Env:         append([]string{"WG_PROCESS_FOREGROUND=1", "CULVERT_STATE_DIR=" + filepath.Join(disk, state)}, ours.Env...),
		SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
	})
	must(t, err)
	p.left.Daemon = d
	eventually(t, patience, "it serves", func() bool { return nstest.Answers(p.left.WG) })
	must(t, p.right.StartDaemon(ours))
	p.configure(t, options{bothKnow: true})
	return filepath.Join("/proc", itoa(d.PID), "root", disk)
}

// The state file on a disk that is full, read-only or without its directory: the
// tunnel works, the status says so, and when there is room the file is written.
func TestStateDirectoryFails(t *testing.T) {
	for _, c := range []struct {
		name       string
		spoil      func(t *testing.T, p *pair, disk string)
		mend       func(t *testing.T, p *pair, disk string)
		comesBack  bool
		wantReason string
	}{
		{"full", fill, func(t *testing.T, _ *pair, disk string) { must(t, os.Remove(filepath.Join(disk, "fill"))) }, true, syscall.ENOSPC.Error()},
		{"read-only", remount("ro"), remount("rw"), true, syscall.EROFS.Error()},
		// A directory that is made anew is another one, which the confinement does not know.
		{"gone", func(t *testing.T, _ *pair, disk string) { must(t, os.RemoveAll(filepath.Join(disk, "state"))) }, nil, false, syscall.ENOENT.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newLink(t, options{})
			disk := p.withDisk(t, "state")
			c.spoil(t, p, disk)
			must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
			pings(t, p.left.NS, rightTun4, 2)
			eventually(t, patience, "the failures are counted", func() bool { return vitalsOf(t, p.left).StampFailures > 1 })
			if log := p.left.Daemon.Stderr(); !strings.Contains(log, c.wantReason) {
				t.Errorf("no reason in the log: %s", log)
			}
			if c.comesBack {
				c.mend(t, p, disk)
				eventually(t, reopening, "the file is written", func() bool {
					text, err := os.ReadFile(filepath.Join(disk, "state", p.left.WG+".stamp"))
					return err == nil && len(text) == 25
				})
				if files, err := os.ReadDir(filepath.Join(disk, "state")); err != nil || len(files) != 1 {
					t.Errorf("what failed is left: %v, %v", files, err)
				}
			}
			must(t, p.left.Daemon.Signal(syscall.SIGTERM))
			endsWell(t, p.left)
		})
	}
}

// A disk that is full at the start keeps nobody from starting: there may be room later.
func TestStateDirectoryIsFull(t *testing.T) {
	h, err := newLab(t).NewHost("host")
	must(t, err)
	h.Daemon, err = h.Start(nstest.Command{ // one inode: the directory's
		Args:        []string{"sh", "-c", "mount -t tmpfs -o nr_inodes=1 none /mnt && exec " + strings.Join(daemon(h.WG), " ")},
		Env:         append([]string{"WG_PROCESS_FOREGROUND=1", "CULVERT_STATE_DIR=/mnt"}, ours.Env...),
		SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
	})
	must(t, err)
	eventually(t, patience, "it serves", func() bool { return nstest.Answers(h.WG) })
	must(t, h.Daemon.Signal(syscall.SIGTERM))
	endsWell(t, h)
	if log := h.Daemon.Stderr(); !strings.Contains(log, syscall.ENOSPC.Error()) {
		t.Errorf("there was room: %s", log)
	}
}

// fill leaves no room.
func fill(t *testing.T, _ *pair, disk string) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "fill"))
	must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
}

// remount changes how the disk is mounted.
func remount(how string) func(t *testing.T, p *pair, disk string) {
	return func(t *testing.T, p *pair, disk string) {
		t.Helper()
		_, inside, _ := strings.Cut(disk, "/root")
		command(t, p.left.NS, "nsenter", "-m", "-t", itoa(p.left.Daemon.PID), "mount", "-o", "remount,"+how, inside)
	}
}

// A name file that cannot be written ends the daemon before it serves, with the
// reason, and with no interface left.
func TestNameFileFails(t *testing.T) {
	for _, c := range []struct{ name, setup, want string }{
		{"read-only", "mount -t tmpfs -o ro none $DIR && ", syscall.EROFS.Error()},
		{"full", "mount -t tmpfs -o size=4k none $DIR && dd if=/dev/zero of=$DIR/fill bs=4k count=1 2>/dev/null && ", syscall.ENOSPC.Error()},
		{"gone", "rmdir $DIR && ", syscall.ENOENT.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			h, err := l.NewHost("host")
			dir := filepath.Join(l.Dir, "names")
			must(t, err, os.Mkdir(dir, 0o700))
			d, err := h.Start(nstest.Command{
				Args:        []string{"sh", "-c", strings.ReplaceAll(c.setup, "$DIR", dir) + "exec " + strings.Join(daemon(h.WG), " ")},
				Env:         []string{"WG_PROCESS_FOREGROUND=1", "WG_TUN_NAME_FILE=" + filepath.Join(dir, "name")},
				SysProcAttr: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
			})
			must(t, err)
			if err := d.Wait(patience); err == nil || d.Alive() || !strings.Contains(d.Stderr(), c.want) || !strings.Contains(d.Stderr(), "WG_TUN_NAME_FILE") {
				t.Errorf("%v: %q", err, d.Stderr())
			}
			if h.HasLink(h.WG) || nstest.Answers(h.WG) {
				t.Error("interface or socket is left")
			}
		})
	}
}
