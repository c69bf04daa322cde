//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/internal/mmsg"
	"culvert/internal/nstest"
)

// grace is how long after the last packet was sent one may arrive. What comes
// later is lost: a queue that is emptied after the end is no throughput.
const grace = 100 * time.Millisecond

// receiveBuffer is that of the counting socket, in bytes: the count of what a
// tunnel delivers must not depend on when the harness gets to run.
const receiveBuffer = 32 << 20

// counter counts the UDP packets that arrive at a port, by stream.
type counter struct {
	run    uint32
	counts []int64
	drops  uint32 // by the socket: it was full, or a checksum was bad
	stop   atomic.Bool
	done   chan error
}

// count starts counting.
func count(at *nstest.NS, port uint16, run uint32, streams int) (*counter, error) {
	var fd int
	err := at.Do(func() (err error) {
		fd, err = countingSocket(unix.SockaddrInet4{Port: int(port)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("receiving UDP: %w", err)
	}
	c := &counter{run: run, counts: make([]int64, streams), done: make(chan error, 1)}
	go func() { // ends within socketPatience of end, and its thread with it
		runtime.LockOSThread()
		// That it gets to run before its buffer is full must not depend on the
		// daemons. It does the same for all of them.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -10)
		err := c.receive(fd)
		c.drops = socketDrops(fd)
		unix.Close(fd) // before end returns: the next counter binds the same port
		c.done <- err
	}()
	return c, nil
}

// socketDrops is how many packets a socket has dropped.
func socketDrops(fd int) uint32 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[unix.SK_MEMINFO_DROPS]
}

// socketPatience is how often a counter looks whether it is to end.
const socketPatience = 20 * time.Millisecond

func countingSocket(addr unix.SockaddrInet4) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	wait := unix.NsecToTimeval(socketPatience.Nanoseconds())
	for _, err = range []error{
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &addr),
	} {
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func (c *counter) receive(fd int) error {
	const payload = 16 // the rest is not read
	msgs := make([]mmsg.Header, maxBurst)
	bufs := make([][payload]byte, len(msgs))
	for i := range msgs {
		iov := &unix.Iovec{Base: &bufs[i][0]}
		iov.SetLen(payload)
		msgs[i].Hdr.Iov = iov
		msgs[i].Hdr.SetIovlen(1)
	}
	for !c.stop.Load() {
		n, err := mmsg.Receive(fd, msgs, unix.MSG_WAITFORONE)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("receiving UDP: %w", err)
		}
		for i := range msgs[:n] {
			b := bufs[i][:]
			if stream := binary.LittleEndian.Uint32(b[streamAt:]); binary.LittleEndian.Uint32(b[runAt:]) == c.run && int(stream) < len(c.counts) {
				c.counts[stream]++
			}
		}
	}
	return nil
}

// droppedNote is what readers have to know if socketDrops is not 0.
const droppedNote = "a socket of the harness dropped packets (it was full, or checksums were bad); they count as lost"

// end waits for the grace and gives what had arrived by then, by stream. It
// makes a remark if the harness itself may have lost some.
func (c *counter) end(s *session) ([]int64, error) {
	time.Sleep(grace)
	c.stop.Store(true)
	err := <-c.done
	if c.drops > 0 {
		s.note(droppedNote)
	}
	return c.counts, err
}

// udpPort is where UDP is sent to.
const udpPort = 5300

// lastRun numbers the flows, so that a late packet of one is not counted in the
// next.
var lastRun atomic.Uint32

// offer sends UDP through the tunnel from left to right.
func offer(t *tunnel, s *session, size int, rate float64, gap time.Duration, seconds float64) (done sent, received int64, err error) {
	run := lastRun.Add(1)
	c, err := count(t.right.NS, udpPort, run, 1)
	if err != nil {
		return done, 0, err
	}
	f := flow{from: t.left.NS, to: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(target), udpPort)},
		size: size, rate: rate, gap: gap, seconds: seconds, run: run}
	done, err = f.send()
	counts, failed := c.end(s)
	if err == nil {
		err = failed
	}
	return done, counts[0], err
}
