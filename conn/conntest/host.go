package conntest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"culvert/conn"
)

// Host is a machine on a Network: addresses, and sockets on ports. It is a
// conn.Network. Safe for concurrent use.
type Host struct {
	net     *Network
	id      uint64
	addrs   []netip.Addr
	ports   map[uint16]*sockets
	next    uint16 // last port picked
	hasLink map[*Host]bool

	shards int // sockets per family and port, if not 1

	failSends   fault
	failListens fault
	refuse      func(to netip.AddrPort) error // nil: nothing is refused
}

// fault fails the next n calls with err.
type fault struct {
	n   int
	err error
}

func (f *fault) take() error {
	if f.n == 0 {
		return nil
	}
	f.n--
	return f.err
}

const firstPort = 49152 // of the dynamic ones, RFC 6335

// Listen implements [conn.Network]. There is one receiver per family that the
// host has addresses of. A taken port is syscall.EADDRINUSE, a host without
// addresses syscall.EAFNOSUPPORT.
func (h *Host) Listen(port uint16, mark uint32) (conn.Sockets, error) {
	return h.ListenSplit(port, mark, nil)
}

// ListenSplit is Listen with a receiver for each lane, as a network that was split does ([conn.Splitter]); main
// may be nil.
func (h *Host) ListenSplit(port uint16, mark uint32, main *conn.Main) (conn.Sockets, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.closed {
		return nil, net.ErrClosed
	}
	if err := h.failListens.take(); err != nil {
		return nil, err
	}
	if port == 0 {
		port = h.freePort()
	}
	if port == 0 || h.ports[port] != nil {
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, syscall.EADDRINUSE)
	}
	if len(h.addrs) == 0 {
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, syscall.EAFNOSUPPORT)
	}
	s := newSockets(h, port, mark, main)
	h.ports[port] = s
	return s, nil
}

func (h *Host) freePort() uint16 {
	for range 1 << 14 {
		if h.next++; h.next < firstPort {
			h.next = firstPort
		}
		if h.ports[h.next] == nil {
			return h.next
		}
	}
	return 0
}

// SetShards makes sockets opened from now on n per family on their port, as with
// conn.Options.Queues. Which of them gets a datagram, the sender's address and
// port say.
func (h *Host) SetShards(n int) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.shards = n
}

// Move gives the host other addresses, as a NAT that rebinds or a machine that
// roams. Sockets stay open; what is on its way to the old addresses is lost,
// and sticky sources of them are, too. A family that the host had no address of
// has no socket until others are opened.
func (h *Host) Move(addrs ...netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.assign(h, addrs)
}

// Addrs is what addresses the host has now.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.addrs)
}

// FailSends makes every run of the next n calls of Send on this host fail
// with err.
func (h *Host) FailSends(n int, err error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.failSends = fault{n, err}
}

// BreakReceivers makes every Receive on the sockets that are open now fail with err,
// from now on; sockets opened later are whole.
func (h *Host) BreakReceivers(err error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, s := range h.ports {
		s.broken = err
		for _, r := range s.recv {
			r.ready.Broadcast()
		}
	}
}

// FailListens makes the next n calls of Listen fail with err.
func (h *Host) FailListens(n int, err error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.failListens = fault{n, err}
}

// Mark is the firewall mark of the socket on port, 0 if there is none.
func (h *Host) Mark(port uint16) uint32 {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if s := h.ports[port]; s != nil {
		return s.mark
	}
	return 0
}

// source is the address that a datagram to dst goes out from. kept tells that
// the sticky one is still ours.
func (h *Host) source(dst, sticky netip.Addr) (src netip.Addr, kept bool) {
	if sticky.IsValid() && slices.Contains(h.addrs, sticky) {
		return sticky, true
	}
	for _, a := range h.addrs {
		if a.Is4() == dst.Is4() {
			return a, false
		}
	}
	return netip.Addr{}, false
}
