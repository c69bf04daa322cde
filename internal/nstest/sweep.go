//go:build linux

package nstest

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marked lists the processes whose environment has exactly this mark.
func marked(mark string) (pids []int) {
	want := []byte(markVar + "=" + mark)
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		for v := range bytes.SplitSeq(environment(pid), []byte{0}) {
			if bytes.Equal(v, want) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// environment is that of a process; nothing if it is none of ours or has ended. While it is in
// execve(2) its old one ends anywhere, and then there is none until the new one is there: it is asked again.
func environment(pid int) (env []byte) {
	Eventually(time.Second, func() bool {
		var err error
		env, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err != nil || uint64(len(env)) == sizeOfEnvironment(stat(pid))
	})
	return env
}

// Places in stat's answer; proc_pid_stat(5) counts from 1, and two fields more.
const (
	statState    = 0      // the third
	statMemory   = 23 - 3 // vsize
	statEnvStart = 50 - 3
	statEnvEnd   = 51 - 3
)

// stat is what the kernel tells of a process from its state on; nothing if there is none.
func stat(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// inExec is the size of an environment that is not there yet.
const inExec = math.MaxUint64

// sizeOfEnvironment is what a process has of it, in bytes. Neither a thread of the kernel nor
// what is about to be a zombie has memory at all.
func sizeOfEnvironment(stat []string) uint64 {
	if len(stat) <= statEnvEnd || stat[statMemory] == "0" {
		return 0
	}
	start, _ := strconv.ParseUint(stat[statEnvStart], 10, 64)
	end, _ := strconv.ParseUint(stat[statEnvEnd], 10, 64)
	if end < max(start, 1) {
		return inExec
	}
	return end - start
}

// ended reports whether nothing is left of a process but perhaps its status.
func ended(pid int) bool {
	s := stat(pid)
	return len(s) == 0 || s[statState] == "Z" || s[statState] == "X"
}

// sweep ends the processes that have the mark: those that left their parent.
func sweep(mark string) error {
	var found []int // one that is about to end has no environment, so no mark, any more
	signal := func(s syscall.Signal) (names []string) {
		for _, pid := range marked(mark) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			names = append(names, fmt.Sprintf("%s (%d)", strings.TrimSpace(string(comm)), pid))
			found = append(found, pid)
			syscall.Kill(pid, s)
		}
		return names
	}
	gone := func() bool {
		return len(marked(mark)) == 0 && !slices.ContainsFunc(found, func(pid int) bool { return !ended(pid) })
	}
	if signal(syscall.SIGTERM) == nil || Eventually(patience, gone) {
		return nil
	}
	names := signal(syscall.SIGKILL)
	Eventually(time.Second, gone)
	if names == nil {
		return nil
	}
	return fmt.Errorf("killed after %v: %s", patience, strings.Join(names, ", "))
}
