package device

import (
	"errors"
	"fmt"
	"sort"
	"syscall"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/device/routes"
	"culvert/device/session"
	"culvert/noise"
)

// MaxPeers is the number of peers a device takes (kernel: MAX_PEERS_PER_DEVICE).
const MaxPeers = 1 << 20

// Errors of Configure wrap a syscall.Errno that says of what kind they are.
var errClosed = fmt.Errorf("the device is closed: %w", syscall.ENODEV)

// peerList is the peers in the order they were added. One owner: the controller.
type peerList struct {
	next  uint64
	items []listItem
	dead  int
}

type listItem struct {
	seq  uint64
	peer *peer // nil: removed
}

func (l *peerList) add(p *peer) {
	l.next++
	p.seq = l.next
	l.items = append(l.items, listItem{p.seq, p})
}

// from is the place of the first peer whose seq is at least seq.
func (l *peerList) from(seq uint64) int {
	return sort.Search(len(l.items), func(i int) bool { return l.items[i].seq >= seq })
}

// remove takes p out; the list is packed when half of it is dead.
func (l *peerList) remove(p *peer) {
	l.items[l.from(p.seq)].peer = nil
	l.dead++
	if l.dead < 64 || l.dead*2 < len(l.items) {
		return
	}
	kept := make([]listItem, 0, len(l.items)-l.dead)
	for _, it := range l.items {
		if it.peer != nil {
			kept = append(kept, it)
		}
	}
	l.items, l.dead = kept, 0
}

func (l *peerList) len() int { return len(l.items) - l.dead }

// all yields every peer; the peer in hand may be removed meanwhile.
func (l *peerList) all(yield func(*peer) bool) {
	for _, it := range l.items {
		if it.peer != nil && !it.peer.removed.Load() && !yield(it.peer) {
			return
		}
	}
}

// A port that was let go just now can be in use for some milliseconds more: a
// process between fork and exec still holds its parent's sockets. So a port in
// use is tried again before the update is refused.
const (
	portTries = 10
	portPause = 25 * time.Millisecond
)

// Configure applies a whole update, or nothing of it. What can fail is done
// first: the sockets for another port or mark, and the number of peers. A port in
// use is refused after a quarter of a second; traffic goes on meanwhile.
func (d *Device) Configure(u *config.Update) error {
	for try := 1; ; try++ {
		err := errClosed
		d.do(func() { err = d.controller.configure(u) })
		if !errors.Is(err, syscall.EADDRINUSE) || try == portTries {
			return err
		}
		select {
		case <-time.After(portPause):
		case <-d.closing:
			return errClosed
		}
	}
}

func (c *controller) configure(u *config.Update) error {
	if err := c.checkPeers(u); err != nil {
		return err
	}
	if err := c.setSockets(u); err != nil {
		return err
	}
	if u.HasPrivateKey {
		c.setPrivateKey(&u.PrivateKey)
	}
	changes := 0
	if u.ReplacePeers {
		changes = c.d.routes.Len()
	}
	for i := range u.Peers {
		changes += len(u.Peers[i].AllowedIPs)
	}
	edit := c.d.routes.Edit(changes)
	if u.ReplacePeers {
		c.keepOnly(u, edit)
	}
	var woken []*peer
	for i := range u.Peers {
		if p := c.setPeer(&u.Peers[i], edit); p != nil {
			woken = append(woken, p)
		}
	}
	edit.Commit()
	c.d.byKey.shrink()
	for _, p := range woken {
		c.afterChange(p)
	}
	return nil
}

// checkPeers refuses what would exceed MaxPeers.
func (c *controller) checkPeers(u *config.Update) error {
	n := c.peers.len()
	if u.ReplacePeers {
		n = 0
	}
	if n+len(u.Peers) <= MaxPeers {
		return nil
	}
	for i := range u.Peers {
		if p := &u.Peers[i]; !p.Remove && !p.UpdateOnly && (u.ReplacePeers || c.d.lookup(p.PublicKey) == nil) {
			n++
		}
	}
	if n > MaxPeers {
		return fmt.Errorf("%d peers are more than the %d a device takes: %w", n, MaxPeers, syscall.ENOSPC)
	}
	return nil
}

// setSockets changes port and mark. Setting what is there already changes
// nothing, unless an earlier attempt to open the port failed.
func (c *controller) setSockets(u *config.Update) error {
	port, mark := uint16(c.d.port.Load()), c.mark
	if u.HasFirewallMark {
		mark = u.FirewallMark
	}
	if u.HasListenPort {
		port = u.ListenPort
	}
	s := c.d.sockets.Load()
	switch {
	case !c.up:
		c.d.port.Store(uint32(port))
	case u.HasListenPort && (s == nil || port == 0 || uint32(port) != c.d.port.Load()):
		if err := c.open(port, mark); err != nil {
			return err
		}
	case s != nil && mark != c.mark:
		if err := (*s).SetMark(mark); err != nil {
			return fmt.Errorf("set firewall mark %#x: %w", mark, err)
		}
		for p := range c.peers.all {
			p.forgetSource(p.endpoint.Load())
		}
	}
	c.mark = mark
	return nil
}

// setPrivateKey changes our identity; zero takes it away. A peer that has our
// public key goes. Sessions are expired: they were made by the old identity.
func (c *controller) setPrivateKey(k *config.PrivateKey) {
	c.secret = true
	id := newIdentity(k)
	if old := c.d.identity.Load(); old == nil && id == nil || old != nil && id != nil && old.PublicKey() == id.PublicKey() {
		id.release()
		return
	}
	if id != nil {
		if p := c.d.lookup(id.PublicKey()); p != nil {
			c.remove(p)
		}
	}
	if id != nil {
		c.d.gate.setCookies(noise.NewCookieChecker(id.PublicKey()))
	} else {
		c.d.gate.setCookies(nil)
	}
	c.d.setIdentity(id)
	for p := range c.peers.all {
		var out session.Actions
		p.epoch++
		p.forgetShared()
		for _, k := range p.keypairs() {
			if k != nil {
				k.barred.Store(true)
			}
		}
		p.machine.Expire(c.now, &out)
		c.perform(p, &out, nil)
		c.afterChange(p)
	}
}

// named is what the sections of one peer name between them.
type named struct{ presharedKey, keepalive bool }

// keepOnly makes the peers those that u lists, as if all had been removed and
// the listed ones added anew, except that a peer that stays keeps its session,
// its counters and, if u names no other, its endpoint.
func (c *controller) keepOnly(u *config.Update, edit *routes.Edit[peer]) {
	listed := make(map[config.PublicKey]named, len(u.Peers))
	for i := range u.Peers {
		if s := &u.Peers[i]; !s.Remove && !s.UpdateOnly {
			n := listed[s.PublicKey]
			listed[s.PublicKey] = named{n.presharedKey || s.HasPresharedKey, n.keepalive || s.HasPersistentKeepalive}
		}
	}
	for p := range c.peers.all {
		n, ok := listed[p.public]
		if !ok {
			c.removeWith(p, edit)
			continue
		}
		edit.Clear(p, &p.prefixes)
		if !n.presharedKey {
			c.setPresharedKey(p, &config.PresharedKey{})
		}
		if !n.keepalive {
			c.setKeepalive(p, 0)
		}
	}
}

// setPeer applies one peer's section. It returns the peer if it is there.
func (c *controller) setPeer(u *config.PeerUpdate, edit *routes.Edit[peer]) *peer {
	if id := c.d.identity.Load(); id != nil && id.PublicKey() == u.PublicKey {
		return nil // ourselves: silently ignored, as in the kernel
	}
	p := c.d.lookup(u.PublicKey)
	fresh := false
	switch {
	case u.Remove:
		if p != nil {
			c.removeWith(p, edit)
		}
		return nil
	case p == nil && u.UpdateOnly:
		return nil
	case p == nil:
		p, fresh = c.add(u.PublicKey), true
	}
	if u.HasPresharedKey {
		c.setPresharedKey(p, &u.PresharedKey)
	}
	if u.Endpoint.IsValid() {
		c.setEndpoint(p, &conn.Endpoint{Remote: u.Endpoint}, fresh)
	}
	if u.ReplaceAllowedIPs {
		edit.Clear(p, &p.prefixes)
	}
	for _, a := range u.AllowedIPs {
		if a.Remove {
			edit.Remove(a.Prefix, p, &p.prefixes)
		} else {
			edit.Add(a.Prefix, p, &p.prefixes, listOf)
		}
	}
	if u.HasPersistentKeepalive {
		c.setKeepalive(p, u.PersistentKeepalive)
	}
	return p
}

// setKeepalive sets the persistent keepalive in seconds; from off to on sends
// one at once.
func (c *controller) setKeepalive(p *peer, seconds uint16) {
	if seconds == p.keepalive {
		return
	}
	var out session.Actions
	p.keepalive = seconds
	p.machine.SetPersistentKeepalive(c.now, time.Duration(seconds)*time.Second, c.live(), &out)
	c.perform(p, &out, nil)
}

func listOf(p *peer) *routes.List { return &p.prefixes }

// live reports whether the interface is up and has sockets.
func (c *controller) live() bool { return c.up && c.d.sockets.Load() != nil }

// setPresharedKey counts from the next handshake on.
func (c *controller) setPresharedKey(p *peer, k *config.PresharedKey) {
	old := p.holdRemote()
	defer old.release()
	if old == nil && k.IsZero() || old != nil && old.PSK.Equal(k) {
		return
	}
	fresh := newRemote(p)
	copy(fresh.PSK[:], k[:])
	if old != nil {
		fresh.Shared, fresh.id = old.Shared, old.id
	}
	p.setRemote(fresh)
}

// setEndpoint moves p; the same address changes nothing and keeps the source.
func (c *controller) setEndpoint(p *peer, e *conn.Endpoint, fresh bool) {
	if old := p.endpoint.Load(); old != nil && old.Remote == e.Remote {
		return
	}
	p.endpoint.Store(e)
	p.loopSaid.Store(false)
	if !fresh && c.live() {
		var out session.Actions
		p.machine.EndpointChanged(c.now, &out)
		c.perform(p, &out, nil)
	}
}

// afterChange asks for keys if packets wait, as the kernel does after each
// change of a peer.
func (c *controller) afterChange(p *peer) {
	if !p.removed.Load() && c.live() && p.stage.waiting() {
		var out session.Actions
		p.machine.NeedKeys(c.now, session.DataWaits, &out)
		c.perform(p, &out, nil)
	}
}

// add makes a peer without anything.
func (c *controller) add(k config.PublicKey) *peer {
	p := &peer{public: k, machine: session.New(&c.d.session)}
	p.timer.Owner = p
	p.machine.RestoreStamp(c.lastStamp)
	c.peers.add(p)
	c.d.byKey.put(p)
	return p
}

// remove takes a peer out.
func (c *controller) remove(p *peer) {
	edit := c.d.routes.Edit(1)
	c.removeWith(p, edit)
	edit.Commit()
}

// removeWith removes p. Who can still hold it: handshake workers and events in
// the queue (they find it removed, and hold what they use of its secrets), batches in flight (they end by
// themselves, their keys are wiped with the last), the wheel (disarmed).
func (c *controller) removeWith(p *peer, edit *routes.Edit[peer]) {
	c.d.byKey.remove(p)
	edit.Clear(p, &p.prefixes)
	p.removed.Store(true)
	c.clear(p)
	p.setRemote(nil)
	c.wheel.Disarm(&p.timer)
	p.endpoint.Store(nil)
	c.peers.remove(p)
}
