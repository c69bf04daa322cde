package conn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Netlink is github.com/mdlayher/netlink's: small, kept, opens its sockets on
// the calling goroutine (so in the namespace of the UDP sockets) and starts
// none of its own. vishvananda/netlink is many times larger and its
// subscriptions start goroutines one cannot wait for; jsimonetti/rtnetlink is
// built on mdlayher's and its route request lacks the ports, which policy
// rules may look at. What is left for us is one fixed message of 12 bytes.

// routeRequest asks for the way to remote from local.
type routeRequest struct {
	remote    netip.AddrPort
	local     netip.Addr
	port      uint16 // of our socket
	mark      uint32
	link      uint32 // interface, for link-local addresses only
	learnedOn uint32 // interface the source was learned on; 0: any will do
}

// routeQuery asks the kernel for routes. One goroutine at a time.
type routeQuery struct{ conn *netlink.Conn }

func newRouteQuery() (*routeQuery, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	return &routeQuery{c}, nil
}

func (q *routeQuery) close() { q.conn.Close() }

// good reports whether the source of req is still to be used. An answer that
// is not understood leaves the source to the sending itself, which fails with
// EINVAL if the address is not ours.
func (q *routeQuery) good(req routeRequest) bool {
	data, err := req.marshal()
	if err != nil {
		return true
	}
	replies, err := q.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   data,
	})
	if err != nil {
		// EINVAL: IPv4 says so when the source is not an address of ours.
		return !errors.Is(err, unix.EINVAL)
	}
	for _, m := range replies {
		if index, local, ok := parseRoute(m.Data); ok && !local {
			return req.learnedOn == 0 || index == req.learnedOn
		}
	}
	return true
}

// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type,
// flags (4 bytes).
const rtmsgType = 7

func (req routeRequest) marshal() ([]byte, error) {
	dst, src := req.remote.Addr().Unmap(), req.local.Unmap()
	bits := dst.BitLen()
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = unix.AF_INET6
	if dst.Is4() {
		header[0] = unix.AF_INET
	}
	header[1], header[2] = byte(bits), byte(bits)

	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.RTA_DST, dst.AsSlice())
	ae.Bytes(unix.RTA_SRC, src.AsSlice())
	if req.mark != 0 {
		ae.Uint32(unix.RTA_MARK, req.mark)
	}
	if req.link != 0 {
		ae.Uint32(unix.RTA_OIF, req.link)
	}
	ae.Uint8(unix.RTA_IP_PROTO, unix.IPPROTO_UDP)
	ae.Bytes(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, req.port))
	ae.Bytes(unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, req.remote.Port()))
	attrs, err := ae.Encode()
	return append(header, attrs...), err
}

// parseRoute reads the output interface of an answer, and whether the
// destination is on this machine: there the interface says nothing.
func parseRoute(data []byte) (index uint32, local, ok bool) {
	if len(data) < unix.SizeofRtMsg {
		return 0, false, false
	}
	local = data[rtmsgType] == unix.RTN_LOCAL
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofRtMsg:])
	if err != nil {
		return 0, false, false
	}
	for ad.Next() {
		if ad.Type() == unix.RTA_OIF {
			index, ok = ad.Uint32(), true
		}
	}
	return index, local, ok && ad.Err() == nil
}

// routeGroups are the changes that can move a route.
var routeGroups = []uint32{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_NEXTHOP,
}

// routeSettle is how long changes are gathered before they count: they come
// in bursts, and every one makes all active endpoints ask again.
const routeSettle = 100 * time.Millisecond

// A watch that could not be begun, or broke, is begun anew after routeRedial, twice as
// long each time up to routeRedialLast.
const (
	routeRedial     = time.Second
	routeRedialLast = time.Minute
)

// routeWatch is the goroutine that waits for changes.
type routeWatch struct {
	r    *routes
	dial func() (*netlink.Conn, error)
	done chan struct{} // closed by close
	wg   sync.WaitGroup

	mu   sync.Mutex
	conn *netlink.Conn // nil while there is none
}

// startRouteWatch watches with conn, which may be nil: then one is dialled later.
func startRouteWatch(r *routes, conn *netlink.Conn, dial func() (*netlink.Conn, error)) *routeWatch {
	w := &routeWatch{r: r, dial: dial, done: make(chan struct{}), conn: conn}
	r.watching.Store(conn != nil)
	w.wg.Go(w.keep) // ends when close closes the connection and done
	return w
}

// dialRouteWatch listens to what can move a route.
func dialRouteWatch() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	joined := 0
	for _, g := range routeGroups {
		// Nexthop objects are of Linux 5.3; less is still something.
		if err = c.JoinGroup(g); err == nil {
			joined++
		}
	}
	if joined == 0 {
		c.Close()
		return nil, err
	}
	return c, nil
}

// keep watches until close, with as many connections as it takes.
func (w *routeWatch) keep() {
	defer w.r.watching.Store(false)
	for wait := routeRedial; ; wait = min(2*wait, routeRedialLast) {
		if w.conn != nil {
			begin := time.Now()
			w.listen()
			w.r.watching.Store(false)
			if time.Since(begin) > routeRedialLast {
				wait = routeRedial
			}
		}
		select {
		case <-w.done:
			return
		case <-time.After(wait):
		}
		if conn, err := w.dial(); err == nil && w.use(conn) {
			w.r.watching.Store(true)
			w.r.changed() // what changed meanwhile is unknown
		}
	}
}

// listen reads w.conn until it breaks or is closed.
func (w *routeWatch) listen() {
	raw, err := w.conn.SyscallConn()
	if err == nil {
		w.run(raw, w.r.changed)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.Close()
	w.conn = nil
}

// use makes conn the one to listen on; false after close.
func (w *routeWatch) use(conn *netlink.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.done:
		conn.Close()
		return false
	default:
		w.conn = conn
		return true
	}
}

// run calls changed after each burst of changes, until raw breaks or is closed.
func (w *routeWatch) run(raw syscall.RawConn, changed func()) {
	for w.read(raw, true) {
		select {
		case <-w.done:
			return
		case <-time.After(routeSettle):
		}
		// What comes after this drain starts another round.
		if !w.read(raw, false) {
			return
		}
		changed()
	}
}

// read throws away all announcements there are, and waits for one if wait is
// set; what they say does not matter. It reports false when closed, or broken.
func (w *routeWatch) read(raw syscall.RawConn, wait bool) bool {
	var buf [1]byte // the rest of a message is cut off
	seen := !wait
	err := raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
			switch err {
			case nil, unix.ENOBUFS: // ENOBUFS: there were too many to keep
				seen = true
			case unix.EINTR:
			default:
				return seen || err != unix.EAGAIN
			}
		}
	})
	return err == nil && seen
}

func (w *routeWatch) close() {
	close(w.done)
	w.mu.Lock()
	if w.conn != nil {
		w.conn.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}
