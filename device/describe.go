package device

import "culvert/device/config"

// describeChunk is the number of peers copied in one go: the controller is busy
// for microseconds, not for as long as a client takes to read a million peers.
const describeChunk = 128

// Describe calls head once and peer for every peer, in the order they were
// added, until one returns an error. A peer added or removed meanwhile may be
// missing or there. The values are the callee's only during the call.
func (d *Device) Describe(head func(*config.Interface) error, peer func(*config.Peer) error) error {
	var i config.Interface
	defer clear(i.PrivateKey[:])
	if !d.do(func() { d.controller.describe(&i) }) {
		return errClosed
	}
	if err := head(&i); err != nil {
		return err
	}
	chunk := make([]config.Peer, 0, describeChunk)
	defer clear(chunk[:describeChunk])
	for next := uint64(0); ; {
		if !d.do(func() { chunk, next = d.controller.describePeers(chunk[:0], next) }) {
			return errClosed
		}
		if len(chunk) == 0 {
			return nil
		}
		for i := range chunk {
			if err := peer(&chunk[i]); err != nil {
				return err
			}
		}
	}
}

func (c *controller) describe(out *config.Interface) {
	out.ListenPort, out.FirewallMark = uint16(c.d.port.Load()), c.mark
	if id := c.d.identity.Load(); id != nil { // held by the device until the controller lets it go
		id.PrivateKey(&out.PrivateKey)
	}
}

// describePeers appends up to a chunk of peers from seq on, and says where to go on.
func (c *controller) describePeers(chunk []config.Peer, seq uint64) ([]config.Peer, uint64) {
	for _, it := range c.peers.items[c.peers.from(seq):] {
		if len(chunk) == describeChunk {
			break
		}
		seq = it.seq + 1
		if it.peer != nil {
			chunk = chunk[:len(chunk)+1]
			c.describePeer(it.peer, &chunk[len(chunk)-1])
		}
	}
	return chunk, seq
}

func (c *controller) describePeer(p *peer, out *config.Peer) {
	ips := out.AllowedIPs[:0]
	*out = config.Peer{
		PublicKey: p.public, PersistentKeepalive: p.keepalive,
		LastHandshake: p.lastHandshake(), RxBytes: p.rx.Load(), TxBytes: p.tx.Load(),
	}
	p.presharedKey(&out.PresharedKey)
	if e := p.endpoint.Load(); e != nil {
		out.Endpoint = e.Remote
	}
	out.AllowedIPs = c.d.routes.Prefixes(p, &p.prefixes, ips)
}
