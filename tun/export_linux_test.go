package tun

import (
	"culvert/internal/rawfd"

	"errors"
	"os"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// CreatePolling is Create where rtnetlink cannot be used.
func CreatePolling(name string, mtu int) (Device, error) {
	made, err := wgtun.CreateTUN(name, mtu)
	if err != nil {
		return nil, err
	}
	file, err := detach(made)
	if err != nil {
		return nil, err
	}
	d, err := newLinux(file, Options{})
	if err != nil {
		return nil, err
	}
	w := newWatcher(d)
	w.dial = func(uint32) (*netlink.Conn, error) { return nil, errors.New("not allowed") }
	return d.start(w, mtu), nil
}

// OnFile is a device on any file that keeps the bounds of messages.
func OnFile(f *os.File, vnet bool) Device {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	file, err := rawfd.New(fd)
	if err != nil {
		panic(err)
	}
	d := &linuxDevice{file: file, sys: &kernel, vnet: vnet, events: make(chan Event), closing: make(chan struct{})}
	d.setName("file")
	d.readers = []*reader{newReader(d, file)}
	d.writers.New = func() any { return newWriter(d) }
	return d
}

// CloseFile closes what OnFile opened.
func CloseFile(d Device) { d.(*linuxDevice).file.Close() }

// ReadPause is how long a reader rests after a failure.
const ReadPause = readPause

// Kernel is what takes the place of system calls; those that are nil stay.
type Kernel struct {
	Read   func(fd int, b []byte) (int, error)
	Write  func(fd int, b []byte) (int, unix.Errno)
	Writev func(fd int, iovs []unix.Iovec) (int, unix.Errno)
}

// SetKernel puts k before a device that nobody uses yet.
func SetKernel(d Device, k Kernel) {
	sys := kernel
	if k.Read != nil {
		sys.read = k.Read
	}
	if k.Write != nil {
		sys.write = k.Write
	}
	if k.Writev != nil {
		sys.writev = k.Writev
	}
	d.(*linuxDevice).sys = &sys
}

// Gather is what the kernel sees of iovs.
func Gather(iovs []unix.Iovec) (all []byte) {
	for _, v := range iovs {
		all = append(all, unsafe.Slice(v.Base, v.Len)...)
	}
	return all
}

// WithOffloads is a device of which only the offloads are set up.
func WithOffloads(vnet bool, opts Options, setOffload func(fd, flags int) error) Device {
	d := &linuxDevice{vnet: vnet, sys: &syscalls{setOffload: setOffload}}
	d.setOffloads(0, opts)
	return d
}

// ParseLink is parseLink.
func ParseLink(b []byte) (index int32, name string, mtu int, up, ok bool) {
	s, ok := parseLink(b)
	return s.index, s.name, s.mtu, s.up, ok
}
