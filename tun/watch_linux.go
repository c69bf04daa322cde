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
// what mu guards. It listens to rtnetlink in the namespace where it was made,
// and asks there, also after the interface has moved (namespace_linux.go). Where
// it cannot hear, it looks once a second; where it cannot ask either, it asks the
// file whether the interface is up (poll says writable only then) and still there.
type watcher struct {
	d     *linuxDevice
	state linkState // last told
	dial  func(groups uint32) (*netlink.Conn, error)

	asks *netlink.Conn // for requests; nil: there is only the file to ask
	far  *netlink.Conn // hears of other namespaces once the interface is in one; nil where it may not
	home os.FileInfo   // the namespace that all three sockets are in; nil if not known
	at   place         // where the interface was when last seen
	seen bool          // it was
	deaf bool          // nothing is heard from where it is

	mu      sync.Mutex
	conn    *netlink.Conn // listened to; nil when there is none
	stopped bool
}

// pollInterval is how often the interface is looked at where nothing is heard.
const pollInterval = time.Second

var errNoNetlink = errors.New("rtnetlink cannot be used")

func newWatcher(d *linuxDevice) *watcher { return &watcher{d: d, dial: dialRoute} }

// begin sets up the interface and tells its state at the start.
func (w *watcher) begin(mtu int) {
	w.open()
	state, err := w.look(mtu)
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
	defer w.close()
	stop := make(chan struct{})
	go func() { // ends with closing or with run
		select {
		case <-w.d.closing:
			w.stop()
		case <-stop:
		}
	}()
	if w.follow() {
		last := w.state
		last.up = false // so it was before it went, whether or not that was seen
		w.update(last)
		w.d.deleted.Store(true)
		w.tell(Event{Kind: Deleted})
		<-w.d.closing
	}
	close(stop)
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

// close closes what stop leaves.
func (w *watcher) close() {
	w.stop()
	for _, c := range []*netlink.Conn{w.asks, w.far} {
		if c != nil {
			c.Close()
		}
	}
}

// follow follows the interface; true if it was deleted, false on Close.
func (w *watcher) follow() bool {
	for w.wait() {
		state, err := w.look(0)
		switch {
		case err == nil:
			w.update(state)
		case !w.attached():
			return true
		default:
			state = w.polled()
			state.mtu, state.index = w.state.mtu, w.state.index
			w.update(state)
		}
	}
	return false
}

// wait returns when there is something to look at; false on Close.
func (w *watcher) wait() bool {
	for w.conn != nil && !w.deaf {
		heard, err := w.hear()
		switch {
		case w.d.closed.Load():
			return false
		case heard || errors.Is(err, unix.ENOBUFS): // messages were lost
			return true
		case err != nil: // a socket that does not work
			w.deaf = true
			return true
		}
	}
	tick := time.NewTimer(pollInterval)
	defer tick.Stop()
	select {
	case <-w.d.closing:
		return false
	case <-tick.C:
		return !w.d.closed.Load()
	}
}

// hear waits for messages, and reports whether one may be about the interface, or
// the end of its namespace. Numbers of interfaces are those of each namespace: what
// is about another with the same one costs a look.
func (w *watcher) hear() (bool, error) {
	messages, err := w.conn.Receive()
	for _, m := range messages {
		if m.Header.Type == unix.RTM_DELNSID {
			return true, nil
		}
		if state, ok := parseLink(m.Data); ok && state.index == w.state.index {
			return true, nil
		}
	}
	return false, err
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

// look is the state of the interface where it is now, after setting it up there
// if it is new there. A mtu is set when it is seen for the first time.
func (w *watcher) look(mtu int) (state linkState, err error) {
	if w.asks == nil {
		return state, errNoNetlink
	}
	for range 10 { // the interface may move or change its name meanwhile
		if state, err = w.lookOnce(mtu); err == nil || !w.attached() {
			break
		}
	}
	return state, err
}

func (w *watcher) lookOnce(mtu int) (linkState, error) {
	at, err := w.locate()
	if err != nil {
		w.deaf = true
		return linkState{}, err
	}
	name, err := w.d.ifname()
	if err != nil {
		return linkState{}, err
	}
	state, err := getLink(w.asks, at.number, name)
	if err != nil || w.seen && at.same(w.at) {
		return state, err
	}
	w.setUp(at, state.index, mtu)
	if state, err = getLink(w.asks, at.number, name); err == nil {
		w.at, w.seen = at, true
	}
	return state, err
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
