//go:build linux

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"culvert/device/config"
	"culvert/internal/aead"
	"culvert/internal/clock"
	"culvert/internal/mmsg"
	"culvert/internal/nstest"
	"culvert/noise"
	"culvert/tun/tuntest"
)

// end is a peer that costs next to nothing: a key, a socket, and a session that
// it began. It has no timers, and does not open what it receives.
type end struct {
	id      *noise.Identity
	inner   netip.Addr
	fd      int // connected to the hub
	keys    *noise.Keypair
	counter uint64 // of the next message
	plain   []byte // the packet that it sends
	sealed  []byte // and the message it becomes
}

// newEnd makes an end whose socket is in ns.
func newEnd(ns *nstest.NS, inner netip.Addr, port int, hub unix.SockaddrInet4) (*end, error) {
	var k config.PrivateKey
	rand.Read(k[:])
	id, err := noise.NewIdentity(&k)
	if err != nil {
		return nil, err
	}
	e := &end{id: id, inner: inner}
	err = ns.Do(func() (err error) {
		e.fd, err = countingSocket(unix.SockaddrInet4{Port: port})
		return err
	})
	if err != nil {
		return nil, err
	}
	wait := unix.NsecToTimeval(int64(2 * time.Second)) // for the response
	if err := errors.Join(unix.Connect(e.fd, &hub), unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *end) close() { unix.Close(e.fd) }

// handshake begins the session and confirms it. local is our index.
func (e *end) handshake(hub config.PublicKey, local uint32) error {
	shared, err := e.id.StaticShared(hub)
	if err != nil {
		return err
	}
	remote := &noise.Remote{Static: hub, Shared: shared}
	var msg [noise.InitiationSize]byte
	h, err := noise.CreateInitiation(rand.Reader, e.id, remote, local, noise.NewTimestamp(time.Now()), &msg)
	if err != nil {
		return err
	}
	new(noise.CookieJar).Seal(clock.System().Now(), hub, msg[:])
	if _, err := unix.Write(e.fd, msg[:]); err != nil {
		return err
	}
	reply := make([]byte, 2048)
	n, err := unix.Read(e.fd, reply)
	if err != nil {
		return fmt.Errorf("no answer to an initiation: %w", err)
	}
	if e.keys, err = e.id.OpenResponse(h, remote, reply[:n]); err != nil {
		return err
	}
	return e.send(nil)
}

// carry prepares the packet that the end sends again and again.
func (e *end) carry(to netip.AddrPort, payload []byte) {
	e.plain = tuntest.UDP(netip.AddrPortFrom(e.inner, udpPort), to, payload)
	e.sealed = make([]byte, transportSize(len(payload)))
}

// transportSize is the size of the message with a UDP packet over IPv4.
func transportSize(payload int) int {
	return noise.TransportHeaderSize + (payload+28+15)&^15 + aead.Overhead
}

// send seals a packet and sends it; nil is a keepalive.
func (e *end) send(packet []byte) error {
	b := make([]byte, noise.KeepaliveSize)
	if packet != nil {
		b = e.sealed
		clear(b[noise.TransportHeaderSize+copy(b[noise.TransportHeaderSize:], packet):])
	}
	noise.PutTransportHeader(b, e.keys.RemoteIndex, e.counter)
	e.keys.Send.Seal(b[noise.TransportHeaderSize:], e.counter)
	e.counter++
	_, err := unix.Write(e.fd, b)
	return err
}

// arrivals counts the messages of one size that arrive at ends. They are not
// opened: the network is the harness's own.
type arrivals struct {
	counts []int64
	stop   atomic.Bool
	done   chan error
}

// listen starts counting.
func listen(ends []*end, size int) (*arrivals, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for i, e := range ends {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, e.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			unix.Close(poll)
			return nil, err
		}
	}
	a := &arrivals{counts: make([]int64, len(ends)), done: make(chan error, 1)}
	go func() { // ends within socketPatience of end
		defer unix.Close(poll)
		a.done <- a.run(poll, ends, size)
	}()
	return a, nil
}

func (a *arrivals) run(poll int, ends []*end, size int) error {
	events := make([]unix.EpollEvent, len(ends))
	msgs := make([]mmsg.Header, maxBurst)
	for i := range msgs {
		iov := &unix.Iovec{Base: new(byte)}
		iov.SetLen(1)
		msgs[i].Hdr.Iov = iov
		msgs[i].Hdr.SetIovlen(1)
	}
	for !a.stop.Load() {
		n, err := unix.EpollWait(poll, events, int(socketPatience.Milliseconds()))
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, event := range events[:max(0, n)] {
			// MSG_TRUNC: the length is that of the message, not of the buffer.
			got, err := mmsg.Receive(ends[event.Fd].fd, msgs, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if err != nil {
				continue // an ICMP error, or nothing after all
			}
			for _, m := range msgs[:got] {
				if int(m.Len) == size {
					a.counts[event.Fd]++
				}
			}
		}
	}
	return nil
}

// end waits for the grace and gives what had arrived by then, by end.
func (a *arrivals) end() ([]int64, error) {
	time.Sleep(grace)
	a.stop.Store(true)
	return a.counts, <-a.done
}
