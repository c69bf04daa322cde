//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used so far, all its threads. A thread that has
// ended takes its part with it: Go's threads rarely do.
type usage struct {
	cpu      time.Duration
	switches int64 // voluntary and other context switches
}

func (u usage) plus(v usage) usage  { return usage{u.cpu + v.cpu, u.switches + v.switches} }
func (u usage) minus(v usage) usage { return usage{u.cpu - v.cpu, u.switches - v.switches} }

// micros is the processor time per n in microseconds.
func (u usage) micros(n int64) float64 { return u.cpu.Seconds() * 1e6 / float64(max(1, n)) }

// switchesPer n.
func (u usage) switchesPer(n int64) float64 { return float64(u.switches) / float64(max(1, n)) }

func usageOf(pid int) usage {
	u := usage{cpu: schedstat(pid)}
	if u.cpu == 0 {
		u.cpu = ticks(statFields(pid))
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for l := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(l, ":"); strings.HasSuffix(name, "voluntary_ctxt_switches") {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				u.switches += n
			}
		}
	}
	return u
}

// schedstat adds up the first field of every task's schedstat: the scheduler's
// own account in nanoseconds. 0 where the kernel keeps none.
func schedstat(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		if f := strings.Fields(string(b)); len(f) == 3 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// ticks reads utime and stime of statFields, 14 and 15 of proc(5)'s stat, in
// USER_HZ, which is 100 on every architecture Go runs on.
func ticks(f []string) time.Duration {
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// statFields are the fields of proc(5)'s stat from the third on, which is the
// state; the second can have blanks in it.
func statFields(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// memory reads a line such as VmRSS or VmHWM, in MiB.
func memory(pid int, line string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(l, line+": %d kB", &kib); err == nil {
			return float64(kib) / 1024
		}
	}
	return 0
}

// others measures what processes that are not ours use: what the processors
// did, without this process, the children it has waited for, the kernel's own
// threads and interrupts, which work for us, too.
type others struct {
	all, ours time.Duration
	kernel    map[thread]time.Duration // the kernel's threads
}

// thread is one for good: a process id is used again, at another time.
type thread struct{ pid, begun string }

func othersNow() others {
	o := others{kernel: kernelThreads()}
	b, _ := os.ReadFile("/proc/stat")
	var user, nice, system int64 // USER_HZ, see ticks
	_, _ = fmt.Sscanf(string(b), "cpu %d %d %d", &user, &nice, &system)
	o.all = time.Duration(user+nice+system) * 10 * time.Millisecond
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) == nil {
			o.ours += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	return o
}

// kernelThread is PF_KTHREAD of the flags in proc(5)'s stat.
const kernelThread = 0x200000

// kernelThreads is the processor time of each of them. A container has none.
func kernelThreads() map[thread]time.Duration {
	threads := make(map[thread]time.Duration)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		f := statFields(pid)
		if len(f) < 20 {
			continue
		}
		if flags, _ := strconv.ParseUint(f[6], 10, 64); flags&kernelThread != 0 {
			threads[thread{filepath.Base(dir), f[19]}] = ticks(f)
		}
	}
	return threads
}

// since is how many processors they used on average. Of the kernel's threads it
// counts those that are there in the end: a worker that ended meanwhile would
// else take away what it had used long before.
func (o others) since(begin others, took time.Duration) float64 {
	used := (o.all - begin.all) - (o.ours - begin.ours)
	for t, cpu := range o.kernel {
		used -= cpu - begin.kernel[t]
	}
	return max(0, used.Seconds()/took.Seconds())
}
