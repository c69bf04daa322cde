//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/internal/mmsg"
	"culvert/internal/nstest"
)

// The harness sends and counts UDP itself. iperf3 makes one system call (and
// reads the clock) for each packet, so with 64 bytes it is the limit before a
// fast tunnel is, and its bursts depend on its own timer. Here a sender makes
// one sendmmsg for what is due, without segmentation offload, so that each
// packet goes through the network stack by itself as those of separate
// applications do, and says how large its bursts were. The same for all
// daemons.

// maxBurst is the number of packets in one system call.
const maxBurst = 64

// Payload of a packet: the run it belongs to, and its destination's number.
const (
	runAt       = 0
	streamAt    = 4
	leastUDPLen = 8
)

// flow is UDP offered by one host.
type flow struct {
	from    *nstest.NS
	to      []netip.AddrPort // in turn, packet by packet
	size    int              // payload, bytes
	rate    float64          // packets a second; 0: as many as the sender can
	gap     time.Duration    // the least time between two bursts
	seconds float64
	run     uint32
}

// sent is what a sender did.
type sent struct {
	packets int64
	seconds float64
	bursts  int64 // system calls that sent
	largest int   // packets in one of them
}

// rate is what was really sent a second.
func (s sent) rate() float64 { return float64(s.packets) / s.seconds }

// burst is the mean number of packets sent together.
func (s sent) burst() float64 { return float64(s.packets) / float64(max(1, s.bursts)) }

// send sends the flow to its end. Where it cannot keep the rate it sends the
// rest in bursts of at most maxBurst, never closer than the gap.
func (f flow) send() (s sent, err error) {
	err = f.from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		s, err = f.loop(fd)
		return err
	})
	if err != nil {
		err = fmt.Errorf("sending UDP: %w", err)
	}
	return s, err
}

func (f flow) loop(fd int) (sent, error) {
	msgs := f.messages()
	return pace(f.rate, f.gap, f.seconds, func(after int64, n int) (int, error) {
		at := int(after % int64(len(f.to)))
		return mmsg.Send(fd, msgs[at:at+n])
	})
}

// pace calls send for the packets that are due, at most maxBurst, until the
// time is over. send is told how many there were before, and tells how many it
// sent. The caller has locked its thread.
func pace(rate float64, gap time.Duration, seconds float64, send func(after int64, n int) (int, error)) (s sent, err error) {
	if rate > 0 {
		defer punctual()()
	}
	begin, last := time.Now(), -gap.Seconds()
	for {
		s.seconds = time.Since(begin).Seconds()
		if s.seconds >= seconds {
			return s, nil
		}
		due := int64(maxBurst)
		if rate > 0 {
			due = min(due, int64(rate*s.seconds)+1-s.packets)
			if next := max(last+gap.Seconds(), float64(s.packets)/rate); due <= 0 || s.seconds < next {
				sleepUntil(begin, next)
				continue
			}
		}
		last = s.seconds
		n, err := send(s.packets, int(due))
		switch err {
		case nil:
		case unix.EINTR, unix.ECONNREFUSED, unix.ENOBUFS, unix.EAGAIN:
			continue
		default:
			return s, err
		}
		s.packets += int64(n)
		s.bursts++
		s.largest = max(s.largest, n)
	}
}

// punctual lets this thread run as soon as its sleeps end, ahead of all
// others: traffic comes when it comes, and not in the bursts that are left when
// the daemons do not need the processor. Where that is not allowed the bursts
// are larger, and are told. What it returns ends it.
func punctual() (end func()) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // ns
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}, 0)
	return func() {
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default
	}
}

// messages has, for each destination, maxBurst packets in a row: so any place
// in the turn is the start of a burst.
func (f flow) messages() []mmsg.Header {
	msgs := make([]mmsg.Header, len(f.to)+maxBurst)
	for i := range msgs {
		stream := i % len(f.to)
		payload := payloadOf(f.size, f.run, stream)
		to := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: f.to[stream].Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], f.to[stream].Port())
		iov := &unix.Iovec{Base: &payload[0]}
		iov.SetLen(len(payload))
		h := &msgs[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(to)), unix.SizeofSockaddrInet4
		h.Iov = iov
		h.SetIovlen(1)
	}
	return msgs
}

// payloadOf is the payload of a stream's packets.
func payloadOf(size int, run uint32, stream int) []byte {
	b := make([]byte, max(size, leastUDPLen))
	binary.LittleEndian.PutUint32(b[runAt:], run)
	binary.LittleEndian.PutUint32(b[streamAt:], uint32(stream))
	return b
}

// sleepUntil sleeps until so many seconds after begin. time.Sleep is too
// coarse: it ends up in epoll_wait, which counts milliseconds.
func sleepUntil(begin time.Time, seconds float64) {
	d := time.Until(begin.Add(time.Duration(seconds * 1e9)))
	if d > 0 {
		t := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&t, nil)
	}
}
