package tun

import (
	"fmt"
	"os"

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
	return d.WriteFrom(0, bufs, offset)
}

// WriteFrom implements Sharded.
func (d *linuxDevice) WriteFrom(shard int, bufs [][]byte, offset int) (int, error) {
	if offset < Headroom {
		return 0, fmt.Errorf("tun: BUG: write with %d bytes of headroom", offset)
	}
	w := d.writers.Get().(*writer)
	w.bufs, w.offset, w.taken, w.err = bufs, offset, 0, nil
	if err := d.out(shard).Control(w.control); err != nil {
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
			w.note(1, w.one(fd, buf[w.offset:]))
		}
		return
	}
	for k := range w.merge.off {
		w.merge.off[k] = !w.d.merge[k].On()
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
		w.note(1, w.one(fd, m.bufs[r.first][m.offset-virtioLen:]))
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
		w.refused(fd, r, err)
	} else {
		w.note(int(r.count), err)
	}
}

// refused writes the packets of r singly after the kernel refused the
// super-packet with err (Linux 6.6.44 and some vendors' say EINVAL), and does not
// merge that kind for a while if it takes them so.
func (w *writer) refused(fd int, r *run, err unix.Errno) {
	m := &w.merge
	m.unseal(r)
	before := w.taken
	for i := r.first; i >= 0; i = m.next[i] {
		buf := m.bufs[i][m.offset-virtioLen:]
		clear(buf[:virtioLen])
		w.note(1, w.one(fd, buf))
	}
	if w.taken > before {
		w.d.count.refused.Add(1)
		w.d.merge[r.kind].Refuse(unix.ErrnoName(err))
		m.off[r.kind] = true
	}
}

// gather writes a sealed run: its first packet with the header in front, and
// the payloads of the others.
func (w *writer) gather(fd int, r *run) unix.Errno {
	m, n, size := &w.merge, 0, 0
	for i := r.first; i >= 0; i = m.next[i] {
		piece := m.bufs[i][m.offset-virtioLen:]
		if n > 0 {
			piece = piece[virtioLen+r.header:]
		}
		w.iov[n].Base = &piece[0]
		w.iov[n].SetLen(len(piece))
		n++
		size += len(piece)
	}
	defer clear(w.iov[:n])
	for {
		wrote, err := w.d.sys.writev(fd, w.iov[:n])
		if err != unix.EINTR {
			return whole(wrote, size, err)
		}
	}
}

// one writes a packet, with its header if there are any.
func (w *writer) one(fd int, b []byte) unix.Errno {
	for {
		wrote, err := w.d.sys.write(fd, b)
		if err != unix.EINTR {
			return whole(wrote, len(b), err)
		}
	}
}

// whole makes an error of a write that took only a part: what went to the
// system is no packet. No TUN does that.
func whole(wrote, size int, err unix.Errno) unix.Errno {
	if err == 0 && wrote < size {
		return unix.EIO
	}
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
