//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/internal/nstest"
)

// smoke is what the tests of this file need: namespaces and the programs.
func smoke(t *testing.T) *session {
	t.Helper()
	if testing.Short() {
		t.Skip("makes namespaces")
	}
	if err := nstest.Missing("ip", "wg", "ping"); err != nil {
		t.Skip(err)
	}
	return &session{seconds: 1, program: "it", notes: new(results)}
}

// The floor carries what the sender sends to the counter, and what is not a
// figure of time comes out right.
func TestFloorCarriesTraffic(t *testing.T) {
	s := smoke(t)
	floor, err := buildFloor(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := newTunnel(floor)
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.close()
	done, received, err := offer(tunnel, s, 64, 2000, 0, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine may lose some, and send less.
	if done.packets < 100 || done.packets > 601 || received < done.packets/2 || received > done.packets {
		t.Errorf("sent %d of 600, received %d", done.packets, received)
	}
	if done.burst() < 1 || done.largest > maxBurst {
		t.Errorf("bursts of %v, at most %d", done.burst(), done.largest)
	}
	if u := tunnel.usage(); u.cpu <= 0 || u.switches <= 0 {
		t.Errorf("used %+v", u)
	}
	if m := tunnel.memory("VmHWM"); m < 1 || m > 1000 {
		t.Errorf("%v MiB", m)
	}
	if err := tunnel.close(); err != nil {
		t.Error(err)
	}
}

func TestBrokenDaemonIsAnError(t *testing.T) {
	smoke(t)
	for _, floor := range []bool{false, true} {
		p := program{Program: nstest.Program{Name: "broken", Args: []string{"false"}}, floor: floor}
		if _, err := newTunnel(p); err == nil {
			t.Errorf("floor %v: there is a tunnel without a daemon", floor)
		}
	}
}

// 50 ends have sessions with the daemon that is measured, and packets go both
// ways.
func TestEndsTalkToTheHub(t *testing.T) {
	s := smoke(t)
	path := os.Getenv("CULVERT")
	if path == "" {
		t.Skip("CULVERT does not name a daemon")
	}
	p, err := parseProgram("culvert=" + path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := fiftyPeers(p, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"50 peers in kpps", "50 peers out kpps", "50 peers in least share", "50 peers out least share", "RSS peers peak MiB"} {
		if v[name] <= 0 {
			t.Errorf("%s is %v", name, v[name])
		}
	}
}

// processorTime is what this process has had.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &at); err != nil {
		t.Fatal(err)
	}
	return time.Duration(at.Nano())
}

// What this process and its children use is not what others use.
func TestOthersAreNotWe(t *testing.T) {
	before := othersNow()
	for begin := processorTime(t); processorTime(t) < begin+100*time.Millisecond; { // which takes a busy machine longer
	}
	after := othersNow()
	if ours := after.ours - before.ours; ours < 50*time.Millisecond {
		t.Errorf("%v of our own", ours)
	}
	var sum time.Duration
	for _, cpu := range after.kernel {
		sum += cpu
	}
	if comm, _ := os.ReadFile("/proc/2/comm"); string(comm) == "kthreadd\n" && sum == 0 { // no such process in a container
		t.Errorf("%d of the kernel's threads have never run", len(after.kernel))
	}
}

// Of the kernel's threads one has ended, and another begun with its process id.
func TestOthersSince(t *testing.T) {
	begin := others{all: 10 * time.Second, ours: 4 * time.Second, kernel: map[thread]time.Duration{
		{"7", "1"}: time.Second, {"8", "1"}: 5 * time.Second,
	}}
	end := others{all: 20 * time.Second, ours: 8 * time.Second, kernel: map[thread]time.Duration{
		{"7", "1"}: 3 * time.Second, {"8", "2"}: 2 * time.Second,
	}}
	if got := end.since(begin, 4*time.Second); got != 0.5 { // 10 s without 4, 2 and 2
		t.Errorf("others use %v processors, not 0.5", got)
	}
}

// System calls are counted: a process that makes some has made some.
func TestCallsAreCounted(t *testing.T) {
	smoke(t)
	id, err := syscallTracepoint()
	if err != nil {
		t.Skip(err)
	}
	c, err := countCalls(id, os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	defer c.close()
	for range 1000 {
		os.Getppid()
	}
	if n, err := c.read(); err != nil || n < 1000 {
		t.Errorf("%d calls counted: %v", n, err)
	}
}

func TestBurstsGoRoundAllDestinations(t *testing.T) {
	f := flow{size: 64, run: 7}
	for port := range uint16(3) {
		f.to = append(f.to, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 1000+port))
	}
	msgs := f.messages()
	if len(msgs) != len(f.to)+maxBurst {
		t.Fatalf("%d messages: a burst from any place in the turn does not fit", len(msgs))
	}
	for i := range msgs {
		to := (*unix.RawSockaddrInet4)(unsafe.Pointer(msgs[i].Hdr.Name))
		stream := binary.LittleEndian.Uint32(unsafe.Slice(msgs[i].Hdr.Iov.Base, f.size)[streamAt:])
		if port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&to.Port))[:]); port != 1000+uint16(i%3) || stream != uint32(i%3) {
			t.Errorf("message %d goes to port %d for stream %d", i, port, stream)
		}
	}
}
