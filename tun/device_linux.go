package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"culvert/internal/offload"
	"culvert/internal/rawfd"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// linuxDevice is a TUN interface of Linux with one queue, or several
// (queues_linux.go).
type linuxDevice struct {
	file *rawfd.File
	vnet bool // virtio-net headers are there
	// With several queues: those but the first, and where Write goes for each.
	more, outs []*rawfd.File

	name  atomic.Pointer[string]
	mtu   atomic.Int64
	count counters
	sys   *syscalls

	// The governor's memory: what the kernel hands over, and the kinds that are
	// merged when written.
	readTSO, readUSO offload.Switch
	merge            [kinds]offload.Switch
	readers          []*reader
	writers          sync.Pool // of *writer

	events    chan Event // closed by the watcher
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
	closed    atomic.Bool
	deleted   atomic.Bool // told by the watcher; ends a Read that has not noticed
	watched   sync.WaitGroup
}

type counters struct {
	malformed, superRead, superWrites, merged, writeErrors, refused, readErrors atomic.Uint64
}

// Create makes the interface name, which may have a %d, with the given MTU.
func Create(name string, mtu int, opts Options) (Device, error) {
	if opts.Queues > 1 {
		return createQueues(name, mtu, opts)
	}
	made, err := wgtun.CreateTUN(name, mtu)
	if err != nil {
		return nil, explainCreate(name, err)
	}
	file, err := detach(made)
	if err != nil {
		return nil, fmt.Errorf("tun: create %q: %w", name, err)
	}
	d, err := newLinux(file, opts)
	if err != nil {
		file.Close()
		return nil, err
	}
	sendRedirectsOff()
	return d.start(newWatcher(d), 0), nil
}

// detach takes the interface over from the library: the file is duplicated and
// the library's device closed, which ends its goroutines. Those watch the
// interface with a write of nothing, which tells up from down no longer on
// new kernels, and stay in the namespace where it was made.
func detach(made wgtun.Device) (*rawfd.File, error) {
	fd, err := duplicate(made.File())
	made.Close()              // its error only says that a goroutine ended before it was told to
	for range made.Events() { // ends when the library's goroutines have
	}
	if err != nil {
		return nil, err
	}
	return rawfd.New(fd)
}

// explainCreate says what to do about the usual reasons.
func explainCreate(name string, err error) error {
	fd, openErr := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if openErr == nil {
		unix.Close(fd)
	}
	switch _, there := net.InterfaceByName(name); {
	case errors.Is(openErr, unix.ENOENT):
		return fmt.Errorf("tun: create %q: /dev/net/tun is missing: load the tun module, or give the container that device", name)
	case openErr != nil:
		return fmt.Errorf("tun: create %q: /dev/net/tun cannot be opened: %w", name, openErr)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tun: create %q: %w: CAP_NET_ADMIN is needed", name, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("tun: create %q: %w: an interface of that name exists", name, err)
	case errors.Is(err, unix.EINVAL) && there == nil:
		return fmt.Errorf("tun: create %q: %w: an interface of that name exists, and is no TUN", name, err)
	}
	return fmt.Errorf("tun: create %q: %w", name, err)
}

// FromFile takes over f, an open TUN queue with its interface (WG_TUN_FD), and
// sets its MTU, if mtu is not 0. It must have been made with IFF_NO_PI, which
// cannot be checked: TUNGETIFF uses that bit for IFF_NOFILTER too. The device owns f from then on, also if
// FromFile fails. Where the interface is persistent or others hold it open,
// Close leaves it. It has one queue.
func FromFile(f *os.File, mtu int, opts Options) (Device, error) {
	if opts.Queues > 1 {
		f.Close()
		return nil, errOneQueue
	}
	fd, err := duplicate(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("tun: inherited file: %w", err)
	}
	if err := checkTUN(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: inherited file: %w", err)
	}
	file, err := rawfd.New(fd)
	if err != nil {
		return nil, fmt.Errorf("tun: inherited file: %w", err)
	}
	d, err := newLinux(file, opts)
	if err != nil {
		file.Close()
		return nil, err
	}
	return d.start(newWatcher(d), mtu), nil
}

// duplicate duplicates f's descriptor. Whether it blocks is left alone.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	controlErr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err) // Control fails only before it calls
}

// checkTUN refuses what is no interface before anything is changed about it: whether
// it blocks is shared with whoever else has it open, a shell's terminal, say.
func checkTUN(fd int) error {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr)
	}
	if err != nil {
		return fmt.Errorf("tun: not a TUN interface: %w", err)
	}
	return nil
}

// newLinux makes the device of file and sets its offloads.
func newLinux(file *rawfd.File, opts Options) (*linuxDevice, error) {
	d := &linuxDevice{
		file:    file,
		sys:     &kernel,
		events:  make(chan Event, 4),
		closing: make(chan struct{}),
	}
	var setupErr error
	if err := file.Control(func(fd uintptr) { setupErr = d.setup(int(fd), opts) }); err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	if setupErr != nil {
		return nil, setupErr
	}
	d.readers = []*reader{newReader(d, file)}
	d.writers.New = func() any { return newWriter(d) }
	return d, nil
}

// setup asks for the interface's mode and sets its offloads.
func (d *linuxDevice) setup(fd int, opts Options) error {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return fmt.Errorf("tun: not a TUN interface: %w", err)
	}
	d.setName(ifr.Name())
	flags := ifr.Uint16()
	if flags&unix.IFF_TUN == 0 {
		return fmt.Errorf("tun: %s is no TUN interface but a TAP: make it with IFF_TUN", ifr.Name())
	}
	d.vnet = flags&unix.IFF_VNET_HDR != 0
	if d.vnet {
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, virtioLen); err != nil {
			return fmt.Errorf("tun: %s: virtio-net header of %d bytes: %w", ifr.Name(), virtioLen, err)
		}
	}
	d.setOffloads(fd, opts)
	return nil
}

// start sets the interface's properties and begins to watch it. A mtu of 0
// leaves the one it has.
func (d *linuxDevice) start(w *watcher, mtu int) *linuxDevice {
	w.begin(mtu)
	d.watched.Add(1)
	go func() { // ends when Close closes d.closing, or with the interface
		defer d.watched.Done()
		w.run()
	}()
	return d
}

func (d *linuxDevice) setName(name string) { d.name.Store(&name) }

// Name implements Device.
func (d *linuxDevice) Name() string { return *d.name.Load() }

// MTU implements Device.
func (d *linuxDevice) MTU() int { return int(d.mtu.Load()) }

// Readers implements Device.
func (d *linuxDevice) Readers() []Reader {
	rs := make([]Reader, len(d.readers))
	for i, r := range d.readers {
		rs[i] = r
	}
	return rs
}

// Events implements Device.
func (d *linuxDevice) Events() <-chan Event { return d.events }

// Close implements Device. The interface goes with its last open file.
func (d *linuxDevice) Close() error {
	d.closeOnce.Do(func() {
		d.closed.Store(true)
		close(d.closing)
		d.closeErr = d.closeFiles()
		d.watched.Wait()
	})
	return d.closeErr
}

// Stats implements StatsSource.
func (d *linuxDevice) Stats() Stats {
	c := &d.count
	return Stats{
		Malformed:   c.malformed.Load(),
		SuperRead:   c.superRead.Load(),
		SuperWrites: c.superWrites.Load(),
		Merged:      c.merged.Load(),
		WriteErrors: c.writeErrors.Load(),
		Refused:     c.refused.Load(),
		ReadErrors:  c.readErrors.Load(),
		ReadTSO:     d.readTSO.On(),
		ReadUSO:     d.readUSO.On(),
		MergeTCP4:   d.merge[tcp4].On(),
		MergeTCP6:   d.merge[tcp6].On(),
		MergeUDP4:   d.merge[udp4].On(),
		MergeUDP6:   d.merge[udp6].On(),
	}
}
