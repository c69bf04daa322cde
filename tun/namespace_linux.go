package tun

import (
	"errors"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The interface may be moved to another network namespace. To enter that needs
// CAP_SYS_ADMIN, which the daemon gives up before it serves; a socket in it would
// also keep the namespace from ever going. So everything is asked and heard through
// sockets that were opened where the process is, before it gave anything up:
//
//   - a namespace has a number in ours, which the kernel gives it when the interface
//     moves from ours to there, and we where it does not (RTM_NEWNSID, for which
//     CAP_NET_ADMIN is kept);
//   - a request can be about the namespace with a number (IFLA_TARGET_NETNSID, Linux 4.15);
//   - a socket can hear of all namespaces with one (NETLINK_LISTEN_ALL_NSID, Linux 4.2):
//     setting that needs CAP_NET_BROADCAST, and what counts later is that its opener had it.
//
// What cannot be had so is a change of a link elsewhere, so setUpFamilies needs to
// enter, and is left out where that is not allowed.

// place is a network namespace.
type place struct {
	info   os.FileInfo // tells it from others; nil where the kernel does not tell
	number int32       // in ours, or here
}

// here is the number of our own namespace, which needs none.
const here = unix.NETNSA_NSID_NOT_ASSIGNED

func (p place) same(as place) bool {
	return p.info == nil && as.info == nil || p.info != nil && as.info != nil && os.SameFile(p.info, as.info)
}

// open opens the sockets. What may not be opened is missed later.
func (w *watcher) open() {
	w.home, _ = os.Stat("/proc/thread-self/ns/net")
	w.conn, _ = w.dial(unix.RTMGRP_LINK)
	w.asks, _ = w.dial(0)
	far, err := w.dial(0)
	if err != nil {
		return
	}
	if err := far.SetOption(netlink.ListenAllNSID, true); err != nil {
		far.Close()
		return
	}
	w.far = far
}

// locate tells where the interface is, and sees to it that what happens there is
// heard from now on.
func (w *watcher) locate() (place, error) {
	namespace, err := w.d.namespace()
	if err != nil {
		// Not allowed to ask, or an old kernel. A new interface is in our namespace;
		// of an older one nobody knows.
		if w.seen {
			return place{}, err
		}
		return place{number: here}, nil
	}
	defer namespace.Close()
	at := place{number: here}
	if at.info, err = namespace.Stat(); err != nil {
		return place{}, err
	}
	w.deaf = false
	if w.home != nil && os.SameFile(at.info, w.home) {
		return at, nil
	}
	w.deaf = !w.goFar()
	at.number, err = numberOf(w.asks, namespace)
	return at, err
}

// goFar listens to the socket that hears of other namespaces, ours among them.
func (w *watcher) goFar() bool {
	if w.far == nil || w.conn == w.far {
		return w.far != nil
	}
	// The end of a namespace is told apart, not as that of its interfaces.
	if w.far.JoinGroup(unix.RTNLGRP_LINK) != nil || w.far.JoinGroup(unix.RTNLGRP_NSID) != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.Close()
	}
	if w.conn = w.far; w.stopped {
		w.far.Close()
	}
	return true
}

// numberOf gives a namespace a number in that of the socket, if it has none, and
// returns it.
func numberOf(c *netlink.Conn, namespace *os.File) (int32, error) {
	ask := func(kind netlink.HeaderType, flags netlink.HeaderFlags, attrs func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
		// struct rtgenmsg, a family, and 3 bytes to align what follows.
		return linkRequest(c, kind, flags, make([]byte, 4), func(e *netlink.AttributeEncoder) {
			e.Uint32(unix.NETNSA_FD, uint32(namespace.Fd()))
			attrs(e)
		})
	}
	_, err := ask(unix.RTM_NEWNSID, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.Int32(unix.NETNSA_NSID, unix.NETNSA_NSID_NOT_ASSIGNED) // any
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	replies, err := ask(unix.RTM_GETNSID, 0, func(*netlink.AttributeEncoder) {})
	if err != nil {
		return 0, err
	}
	for _, m := range replies {
		if len(m.Data) < 4 {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, err
		}
		for attrs.Next() {
			if attrs.Type() == unix.NETNSA_NSID && attrs.Int32() >= 0 {
				return attrs.Int32(), attrs.Err()
			}
		}
	}
	return 0, errors.New("no answer about the namespace")
}

// setUp sets the interface up: what belongs to a namespace in each, the rest, and
// a mtu that is not 0, the first time.
func (w *watcher) setUp(at place, index int32, mtu int) {
	c := w.asks
	if at.number != here {
		var err error
		if c, err = w.enter(); err != nil {
			return
		}
		defer c.Close()
	}
	setUpFamilies(c, index)
	if !w.seen {
		setUpLink(c, index, mtu)
	}
}

// enter opens a socket in the interface's namespace, by a thread that enters it.
func (w *watcher) enter() (*netlink.Conn, error) {
	namespace, err := w.d.namespace()
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	return netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(namespace.Fd())})
}

// namespace opens the network namespace the interface is in.
func (d *linuxDevice) namespace() (*os.File, error) {
	const tunGetDevNetNS = 0x54e3 // TUNGETDEVNETNS, linux/if_tun.h, since Linux 5.2
	var ns *os.File
	err := d.control(func(fd int) error {
		n, err := unix.IoctlRetInt(fd, tunGetDevNetNS)
		if err == nil {
			ns = os.NewFile(uintptr(n), "network namespace")
		}
		return err
	})
	return ns, err
}
