//go:build linux

package nstest

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// markVar is the environment variable that marks our processes.
const markVar = "NSTEST_MARK"

// run is what this process has once, whatever the number of labs.
type run struct {
	mark   string   // start of the mark of every lab
	dir    string   // holds the directories of the labs; the guard removes it
	prefix string   // start of every interface name
	pipe   *os.File // held open: its closing wakes the guard
	last   atomic.Int64
}

var startRun = sync.OnceValues(func() (*run, error) {
	dir, err := os.MkdirTemp("", "nstest-")
	if err != nil {
		return nil, err
	}
	r := &run{
		mark:   fmt.Sprintf("%d-%s", os.Getpid(), rand.Text()),
		prefix: fmt.Sprintf("ct%xx", os.Getpid()),
		dir:    dir,
	}
	if err := r.guard(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting the clean-up guard: %w", err)
	}
	return r, nil
})

// name makes the next interface name. A process id has at most 22 bits on
// Linux, so the prefix is at most 9 bytes and 6 are left for the counter.
func (r *run) name() string { return r.prefix + strconv.FormatInt(r.last.Add(1), 36) }

// guardScript waits for the end of its standard input, that is for the end of
// the process that started it, and removes what that left behind.
// $1 mark, $2 directory, $3 sockets (a path without the rest of the name).
//
// It believes that nobody is left when it found nobody three times: a process in
// execve(2) has no environment for a moment (see environment).
const guardScript = `
cat >/dev/null
ours() { grep -lzs "^` + markVar + `=$1" /proc/[0-9]*/environ | sed 's,/proc/\([0-9]*\)/.*,\1,'; }
n=0; none=0; told=' '
while [ $n -lt 50 ] && [ $none -lt 3 ]; do
	none=$((none+1))
	for p in $(ours "$1"); do
		none=0
		case "$told" in *" $p "*) ;; *) told="$told$p "; kill -TERM "$p" 2>/dev/null ;; esac
	done
	sleep 0.1; n=$((n+1))
done
for p in $(ours "$1"); do kill -KILL "$p"; done 2>/dev/null
rm -rf -- "${2:?}"
rm -f -- "${3:?}"*.sock`

// guard starts the guard. It has a session of its own, so a ctrl-C does not
// reach it, and ends soon after this process does.
func (r *run) guard() error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "nstest-guard", r.mark+".", r.dir, SocketDir+"/"+r.prefix)
	cmd.Stdin = in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		out.Close()
		return err
	}
	r.pipe = out
	return cmd.Process.Release() // it outlives us
}
