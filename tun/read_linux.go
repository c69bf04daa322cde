package tun

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"culvert/internal/rawfd"
)

// reader is a queue of a linuxDevice. The closure and the memory are made
// once, so that a read allocates nothing.
type reader struct {
	d      *linuxDevice
	file   *rawfd.Reader
	own    []byte
	buf    []byte // what is read into: own, or a packet's Into
	n      int    // result of the last read
	err    error  // result of the last read
	failed int    // reads in a row
}

func newReader(d *linuxDevice, file *rawfd.File) *reader {
	r := &reader{d: d, own: make([]byte, ReadSize)}
	r.file = file.NewReader(func(fd uintptr) bool { // one read without blocking
		for {
			r.n, r.err = d.sys.read(int(fd), r.buf)
			if r.err != unix.EINTR && !r.passing() {
				break
			}
		}
		return r.err != unix.EAGAIN
	})
	return r
}

// badReads is how many failures in a row are followed by another try at once;
// after each later one there is a pause, so that a lasting failure does not burn the
// CPU. lastRead, 10 s later, is the end of a queue.
const (
	badReads  = 16
	readPause = 10 * time.Millisecond
	lastRead  = badReads + 1000
)

// passing reports whether the read just made is to be made again at once: it failed
// for a reason that concerns one packet at most (Linux throws away a super-packet of
// a kind it cannot describe, and says EINVAL), or that will pass.
func (r *reader) passing() bool {
	if !passes(r.err) {
		r.failed = 0
		return false
	}
	r.failed++
	r.d.count.readErrors.Add(1)
	return r.failed < badReads
}

// passes tells errors that do not say that the queue is of no use.
func passes(err error) bool {
	switch err {
	case unix.EINVAL, unix.EIO, unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM:
		return true
	}
	return false
}

// rest pauses after a failure that may pass; false if there were too many.
func (r *reader) rest() bool {
	if !passes(r.err) || r.failed >= lastRead || r.d.closed.Load() || r.d.deleted.Load() {
		return false
	}
	time.Sleep(readPause)
	return true
}

// Read implements Reader.
func (r *reader) Read(p *Packet) error {
	r.into(p)
	for {
		waited, err := r.file.Read()
		if err != nil {
			return r.final(err)
		}
		if r.err != nil {
			if r.rest() {
				continue
			}
			return r.final(r.err)
		}
		if r.take(p) {
			p.Waited = waited
			return nil
		}
	}
}

// TryRead implements Reader.
func (r *reader) TryRead(p *Packet) (bool, error) {
	r.into(p)
	for {
		if err := r.file.Try(); err != nil {
			return false, r.final(err)
		}
		if r.err == unix.EAGAIN {
			return false, nil
		}
		if r.err != nil {
			return false, r.final(r.err)
		}
		if r.take(p) {
			return true, nil
		}
	}
}

// into chooses the memory of the next read.
func (r *reader) into(p *Packet) {
	if r.buf = r.own; len(p.Into) >= ReadSize {
		r.buf = p.Into[:ReadSize]
	}
}

// take makes p the packet just read, or counts it as malformed.
func (r *reader) take(p *Packet) bool {
	b := r.buf[:r.n]
	if r.n < ReadSize {
		if !r.d.vnet {
			if plausibleIP(b) {
				p.SetBytes(b)
				return true
			}
		} else if p.SetVirtio(b) {
			if p.segmentLen != 0 {
				r.d.count.superRead.Add(1)
			}
			return true
		}
	}
	r.d.count.malformed.Add(1)
	return false
}

// final names the error that ended reading.
func (r *reader) final(err error) error {
	switch {
	case r.d.closed.Load():
		return os.ErrClosed
	case r.d.deleted.Load(), errors.Is(err, unix.EBADFD), errors.Is(err, unix.EFAULT):
		return ErrDeleted
	}
	// The poller gives up on a file in an error state, which is how it sees
	// a deleted interface: ask the file itself. If it is the file that said err, it is not
	// asked again: it might give a packet.
	if !passes(err) && r.file.Try() == nil && (r.err == unix.EBADFD || r.err == unix.EFAULT) {
		return ErrDeleted
	}
	return fmt.Errorf("tun: read %s: %w", r.d.Name(), err)
}
