package conntest

import "net/netip"

// A Datagram is one that a host has sent, or that is to arrive.
type Datagram struct {
	Data     []byte // its own
	From, To netip.AddrPort
	TOS      byte
	Host     *Host // that sent it
	Err      error // Send failed with it: it never left
}

// Hold keeps whatever is sent from now on for Take, also what Send fails for, and has
// nothing arrive by itself: links count no more, what arrives is for the test to
// say (Deliver). sent is called after each Send, with the network's lock held.
func (n *Network) Hold(sent func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold = sent
}

// Take gives what was sent since it was last called, in the order of sending.
func (n *Network) Take() []Datagram {
	n.mu.Lock()
	defer n.mu.Unlock()
	held := n.held
	n.held = nil
	return held
}

// Deliver puts datagrams into the queues of the sockets they are addressed to, all at
// once: one Receive gets as many as its batch has room for. It says of each whether
// there was a socket with room. Their data is the receiver's from then on.
func (n *Network) Deliver(ds ...Datagram) (arrived []bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range ds {
		n.count.Sent++
		before := n.count.Delivered
		n.deliver(datagram{data: d.Data, from: d.From, to: d.To, tos: d.TOS})
		arrived = append(arrived, n.count.Delivered > before)
	}
	return arrived
}

// Refuse has Send fail for every datagram to an address that refuse gives an error
// for; nil ends it. It is called with the network's lock held.
func (h *Host) Refuse(refuse func(to netip.AddrPort) error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.refuse = refuse
}

// Open is how many ports the host has sockets on.
func (h *Host) Open() int {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return len(h.ports)
}
