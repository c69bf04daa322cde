package tun

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writer is the state of one Write call. It comes from a pool, so that any
// number of goroutines can write and none allocates. The file's lock is not
// taken (RawConn.Control, not Write): a TUN takes packets from many threads.
type writer struct {
	d       *linuxDevice
	merge   merger
	iov     [mergePieces]unix.Iovec
	control func(fd uintptr)

	bufs   [][]byte // arguments and results of control
	offset int
	taken  int
	err    error
}

func newWriter(d *linuxDevice) *writer {
	w := &writer{d: d}
	w.control = func(fd uintptr) { w.write(int(fd)) }
	return w
}

// Write implements Device.
func (d *linuxDevice) Write(bufs [][]byte, offset int) (int, error) {
	if offset < Headroom {
		return 0, fmt.Errorf("tun: BUG: write with %d bytes of headroom", offset)
	}
	w := d.writers.Get().(*writer)
	w.bufs, w.offset, w.taken, w.err = bufs, offset, 0, nil
	if err := d.conn.Control(w.control); err != nil {
		w.err = os.ErrClosed
	}
	n, err := w.taken, w.err
	w.bufs = nil
	w.merge.reset()
	d.writers.Put(w)
	if n < len(bufs) && err != os.ErrClosed {
		d.count.writeErrors.Add(uint64(len(bufs) - n))
	}
	return n, err
}

func (w *writer) write(fd int) {
	if !w.d.vnet {
		for _, buf := range w.bufs {
			w.note(1, writeOne(fd, buf[w.offset:]))
		}
		return
	}
	for k := range w.merge.off {
		w.merge.off[k] = w.d.off[k].Load()
	}
	for bufs := w.bufs; len(bufs) > 0; {
		n := min(len(bufs), mergeBatch)
		w.merge.find(bufs[:n], w.offset)
		for i := range w.merge.n {
			w.writeRun(fd, &w.merge.runs[i])
		}
		bufs = bufs[n:]
	}
}

func (w *writer) writeRun(fd int, r *run) {
	m := &w.merge
	m.seal(r)
	if r.count == 1 {
		w.note(1, writeOne(fd, m.bufs[r.first][m.offset-virtioLen:]))
		return
	}
	err := w.gather(fd, r)
	if err == 0 {
		w.d.count.superWrites.Add(1)
		w.d.count.merged.Add(uint64(r.count))
		w.taken += int(r.count)
		return
	}
	if isMergeFault(err) {
		w.refused(fd, r)
	} else {
		w.note(int(r.count), err)
	}
}

// isMergeFault reports whether err may be due to packets being merged. After
// others (EIO: the interface is down) the single packets would fare no better.
func isMergeFault(err unix.Errno) bool {
	return err == unix.EINVAL || err == unix.EMSGSIZE || err == unix.EOPNOTSUPP
}

// refused writes the packets of r singly after the kernel refused the
// super-packet (Linux 6.6.44 and some vendors' say EINVAL), and merges that
// kind no more if it takes them so.
func (w *writer) refused(fd int, r *run) {
	m := &w.merge
	m.unseal(r)
	before := w.taken
	for i := r.first; i >= 0; i = m.next[i] {
		buf := m.bufs[i][m.offset-virtioLen:]
		clear(buf[:virtioLen])
		w.note(1, writeOne(fd, buf))
	}
	if w.taken > before {
		w.d.count.refused.Add(1)
		w.d.off[r.kind].Store(true)
		m.off[r.kind] = true
	}
}

// gather writes a sealed run: its first packet with the header in front, and
// the payloads of the others.
func (w *writer) gather(fd int, r *run) unix.Errno {
	m, n := &w.merge, 0
	for i := r.first; i >= 0; i = m.next[i] {
		piece := m.bufs[i][m.offset-virtioLen:]
		if n > 0 {
			piece = piece[virtioLen+r.header:]
		}
		w.iov[n].Base = &piece[0]
		w.iov[n].SetLen(len(piece))
		n++
	}
	err := retry(func() unix.Errno {
		_, _, err := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&w.iov[0])), uintptr(n))
		return err
	})
	clear(w.iov[:n])
	return err
}

// note adds up what became of count packets.
func (w *writer) note(count int, err unix.Errno) {
	if err == 0 {
		w.taken += count
	} else if w.err == nil {
		w.err = err
	}
}

func writeOne(fd int, b []byte) unix.Errno {
	return retry(func() unix.Errno {
		_, _, err := unix.Syscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return err
	})
}

// retry repeats a system call that a signal interrupted.
func retry(call func() unix.Errno) unix.Errno {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
