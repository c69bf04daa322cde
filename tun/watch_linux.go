package tun

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watcher tells what happens to the interface: its goroutine owns it all but
// what mu guards. It listens to rtnetlink in the namespace the interface is
// in, which may change: a move shows as a deletion. Where it may not enter
// that namespace, it asks the file once a second whether the interface is up
// (poll says writable only then) and still there.
type watcher struct {
	d     *linuxDevice
	state linkState // last told
	dial  func(namespace *os.File, groups uint32) (*netlink.Conn, error)

	mu      sync.Mutex
	conn    *netlink.Conn // of the group of link changes; nil when polling
	stopped bool
}

// pollInterval is how often the file is asked where rtnetlink cannot be used.
const pollInterval = time.Second

var errClosing = errors.New("closing")

func newWatcher(d *linuxDevice) *watcher { return &watcher{d: d, dial: dialRoute} }

// begin sets up the interface and tells its state at the start.
func (w *watcher) begin(mtu int) {
	state, err := w.bind(newLink, mtu)
	if err != nil {
		state = w.polled()
		state.mtu = mtu
	}
	w.state = state
	w.d.mtu.Store(int64(state.mtu))
	w.d.setName(state.name)
	w.d.events <- Event{Kind: upOrDown(state.up)} // has room
}

func upOrDown(up bool) EventKind {
	if up {
		return Up
	}
	return Down
}

// run tells of changes until Close. It closes the channel of events.
func (w *watcher) run() {
	defer close(w.d.events)
	stop := make(chan struct{})
	go func() { // ends with closing or with run
		select {
		case <-w.d.closing:
			w.stop()
		case <-stop:
		}
	}()
	gone := w.listen()
	if gone {
		w.d.deleted.Store(true)
		w.tell(Event{Kind: Deleted})
		<-w.d.closing
	}
	close(stop)
	w.stop()
}

// stop ends listening.
func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.conn != nil {
		w.conn.Close()
	}
}

// listen follows the interface; true if it was deleted, false on Close.
func (w *watcher) listen() bool {
	for w.conn != nil {
		moved, err := w.receive()
		if err == nil && !moved {
			continue
		}
		// Moved, deleted, messages lost (ENOBUFS), or closing: look again.
		then := sameLink
		if moved {
			then = movedLink
		}
		state, err := w.bind(then, 0)
		switch {
		case err == errClosing:
			return false
		case err == nil:
			w.update(state)
		case !w.attached():
			return true
		}
	}
	return w.poll()
}

// receive handles the messages that wait; moved says that the interface has
// left this namespace.
func (w *watcher) receive() (moved bool, err error) {
	messages, err := w.conn.Receive()
	for _, m := range messages {
		state, ok := parseLink(m.Data)
		if !ok || state.index != w.state.index {
			continue
		}
		switch m.Header.Type {
		case unix.RTM_NEWLINK:
			w.update(state)
		case unix.RTM_DELLINK:
			moved = true
		}
	}
	return moved, err
}

// poll is listen without rtnetlink.
func (w *watcher) poll() bool {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.d.closing:
			return false
		case <-tick.C:
		}
		if w.d.closed.Load() {
			return false
		}
		if !w.attached() {
			return true
		}
		state := w.polled()
		state.mtu, state.index = w.state.mtu, w.state.index
		w.update(state)
	}
}

// update tells how state differs from the last.
func (w *watcher) update(state linkState) {
	old := w.state
	w.state = state
	if state.name != old.name {
		w.d.setName(state.name)
	}
	if state.mtu != old.mtu || state.up != old.up {
		w.d.forgive()
	}
	if state.mtu != old.mtu {
		w.d.mtu.Store(int64(state.mtu))
		w.tell(Event{Kind: MTUChanged, MTU: state.mtu})
	}
	if state.up != old.up {
		w.tell(Event{Kind: upOrDown(state.up)})
	}
}

func (w *watcher) tell(e Event) {
	select {
	case w.d.events <- e:
	case <-w.d.closing:
	}
}

// occasion is why the watcher binds.
type occasion int

const (
	newLink   occasion = iota // all is to be set up
	movedLink                 // what belongs to the namespace is lost
	sameLink
)

// bind listens in the namespace the interface is in now, and returns its
// state there, after setting up what the occasion asks for.
func (w *watcher) bind(why occasion, mtu int) (linkState, error) {
	var err error
	for range 10 { // the interface may move or change its name meanwhile
		var state linkState
		if state, err = w.bindOnce(why, mtu); err == nil || err == errClosing || !w.attached() {
			return state, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
	return linkState{}, err
}

func (w *watcher) bindOnce(why occasion, mtu int) (linkState, error) {
	namespace, err := w.d.namespace()
	if err != nil {
		// Not allowed to ask (or an old kernel). A new interface is in our
		// namespace; of an older one nobody knows.
		if why != newLink {
			return linkState{}, err
		}
		namespace = nil
	} else {
		defer namespace.Close()
	}
	conn, err := w.dial(namespace, unix.RTMGRP_LINK)
	if err != nil {
		return linkState{}, err
	}
	if err := w.listenOn(conn); err != nil {
		return linkState{}, err
	}
	requests, err := w.dial(namespace, 0)
	if err != nil {
		return linkState{}, err
	}
	defer requests.Close()
	name, err := w.d.ifname()
	if err != nil {
		return linkState{}, err
	}
	state, err := getLink(requests, name)
	if err != nil || why == sameLink {
		return state, err
	}
	setUpFamilies(requests, state.index)
	if why == newLink {
		setUpLink(requests, state.index, mtu)
	}
	return getLink(requests, name)
}

// listenOn makes conn the one to listen on.
func (w *watcher) listenOn(conn *netlink.Conn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		conn.Close()
		return errClosing
	}
	if w.conn != nil {
		w.conn.Close()
	}
	w.conn = conn
	return nil
}

// attached reports whether the file still has its interface.
func (w *watcher) attached() bool {
	_, err := w.d.ifname()
	return !errors.Is(err, unix.EBADFD)
}

// polled is the state that the file itself tells.
func (w *watcher) polled() linkState {
	name, err := w.d.ifname()
	if err != nil {
		name = w.d.Name()
	}
	return linkState{name: name, up: w.d.writable()}
}

// control runs f on the file.
func (d *linuxDevice) control(f func(fd int) error) error {
	var err error
	if controlErr := d.file.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// ifname asks for the name. EBADFD: the interface is gone.
func (d *linuxDevice) ifname() (name string, err error) {
	err = d.control(func(fd int) error {
		ifr, err := unix.NewIfreq("")
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr)
		}
		if err == nil {
			name = ifr.Name()
		}
		return err
	})
	return name, err
}

// writable reports whether poll(2) finds the file writable, which a TUN is
// only while it is up.
func (d *linuxDevice) writable() bool {
	up := false
	_ = d.control(func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		up = n == 1 && fds[0].Revents&unix.POLLOUT != 0
		return err
	})
	return up
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
