package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"culvert/internal/rawfd"
)

// Several queues (IFF_MULTI_QUEUE): one file each to read from. The kernel puts
// a packet into the queue that a hash of its addresses and ports says, unless it
// has seen a packet of the same flow *written* through another one: then it
// moves the flow there, though packets of it may still wait in the first, and a
// quick reader of the second overtakes them (drivers/net/tun.c,
// tun_flow_update). So nothing is ever written through the files that are read:
// as many more are attached to write through, and detached again (TUNSETQUEUE).
// A detached one still writes, teaches the kernel nothing, and has no queue.
// So a flow keeps its queue, and its order, for as long as the interface lives.
//
// Written packets are handed to the network stack in the writing thread before
// the write returns (we do not ask for IFF_NAPI), so which file they go through
// cannot change their order.

// createQueues is Create for several queues. The package that makes other
// interfaces makes none with several, and more can be attached only if the first
// was made so.
func createQueues(name string, mtu int, opts Options) (Device, error) {
	if opts.Queues > MaxQueues {
		return nil, fmt.Errorf("tun: create %q: %d queues are more than %d", name, opts.Queues, MaxQueues)
	}
	// Exclusive: else we would attach to another process's interface if that
	// has several queues too, and take some of its packets.
	first, err := openQueue(name, unix.IFF_TUN_EXCL)
	if err != nil {
		return nil, explainCreate(name, err)
	}
	d, err := newLinux(first, opts)
	if err != nil {
		first.Close()
		return nil, err
	}
	if err := d.attach(opts.Queues); err != nil {
		d.closeFiles()
		return nil, fmt.Errorf("tun: create %q with %d queues: %w", name, opts.Queues, err)
	}
	sendRedirectsOff()
	return d.start(newWatcher(d), mtu), nil
}

// openQueue attaches one more file to the interface, or makes it.
func openQueue(name string, flags uint16) (*rawfd.File, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return rawfd.New(fd)
}

// attach opens the other files. Offloads and the size of the virtio-net header
// are the interface's, set through the first.
func (d *linuxDevice) attach(queues int) error {
	for range queues {
		out, err := openQueue(d.Name(), 0)
		if err != nil {
			return err
		}
		d.outs = append(d.outs, out)
		if err := detachQueue(out); err != nil {
			return err
		}
	}
	for range queues - 1 {
		q, err := openQueue(d.Name(), 0)
		if err != nil {
			return err
		}
		d.more = append(d.more, q)
		d.readers = append(d.readers, newReader(d, q))
	}
	return nil
}

// detachQueue leaves a file that can be written to only.
func detachQueue(q *rawfd.File) error {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_DETACH_QUEUE)
	var failed error
	err = q.Control(func(fd uintptr) { failed = unix.IoctlIfreq(int(fd), unix.TUNSETQUEUE, ifr) })
	return errors.Join(err, failed)
}

// out is where a shard writes.
func (d *linuxDevice) out(shard int) *rawfd.File {
	if len(d.outs) == 0 {
		return d.file
	}
	return d.outs[shard%len(d.outs)]
}

// closeFiles closes every file; with the last one goes the interface.
func (d *linuxDevice) closeFiles() error {
	err := d.file.Close()
	for _, files := range [][]*rawfd.File{d.more, d.outs} {
		for _, q := range files {
			err = errors.Join(err, q.Close())
		}
	}
	return err
}
