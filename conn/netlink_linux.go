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

// routeWatch is the goroutine that waits for changes.
type routeWatch struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	done chan struct{} // closed by close
	wg   sync.WaitGroup
}

func startRouteWatch(r *routes) (*routeWatch, error) {
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
	w := &routeWatch{conn: c, done: make(chan struct{})}
	if joined > 0 {
		w.raw, err = c.SyscallConn()
	}
	if joined == 0 || err != nil {
		c.Close()
		return nil, err
	}
	r.watching.Store(true)
	// Ends when close closes the connection and done.
	w.wg.Go(func() {
		defer r.watching.Store(false)
		w.run(r.changed)
	})
	return w, nil
}

// run calls changed after each burst of changes until close.
func (w *routeWatch) run(changed func()) {
	for w.read(true) {
		select {
		case <-w.done:
			return
		case <-time.After(routeSettle):
		}
		// What comes after this drain starts another round.
		if !w.read(false) {
			return
		}
		changed()
	}
}

// read throws away all announcements there are, and waits for one if wait is
// set; what they say does not matter. It reports false when closed.
func (w *routeWatch) read(wait bool) bool {
	var buf [1]byte // the rest of a message is cut off
	seen := !wait
	err := w.raw.Read(func(fd uintptr) bool {
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
	w.conn.Close()
	w.wg.Wait()
}
