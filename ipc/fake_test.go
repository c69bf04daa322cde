package ipc

import (
	"net/netip"
	"slices"
	"sync"

	"culvert/device/config"
)

// fakeDevice is a device of which only the configuration is there.
type fakeDevice struct {
	mu       sync.Mutex
	iface    config.Interface
	peers    []*config.Peer
	sets     int
	err      error         // what Configure answers
	entered  chan struct{} // if not nil, hears of every Configure,
	released chan struct{} // which then waits for this
}

func (d *fakeDevice) Configure(u *config.Update) error {
	if d.entered != nil {
		d.entered <- struct{}{}
		<-d.released
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets++
	if d.err != nil {
		return d.err
	}
	if u.HasPrivateKey {
		d.iface.PrivateKey = u.PrivateKey
		if !u.PrivateKey.IsZero() {
			d.iface.PrivateKey.Clamp()
		}
	}
	if u.HasListenPort {
		d.iface.ListenPort = u.ListenPort
	}
	if u.HasFirewallMark {
		d.iface.FirewallMark = u.FirewallMark
	}
	if u.ReplacePeers {
		d.peers = nil
	}
	for i := range u.Peers {
		d.setPeer(&u.Peers[i])
	}
	return nil
}

func (d *fakeDevice) setPeer(u *config.PeerUpdate) {
	at := slices.IndexFunc(d.peers, func(p *config.Peer) bool { return p.PublicKey == u.PublicKey })
	if u.Remove {
		if at >= 0 {
			d.peers = slices.Delete(d.peers, at, at+1)
		}
		return
	}
	if at < 0 {
		if u.UpdateOnly {
			return
		}
		d.peers, at = append(d.peers, &config.Peer{PublicKey: u.PublicKey}), len(d.peers)
	}
	p := d.peers[at]
	if u.HasPresharedKey {
		p.PresharedKey = u.PresharedKey
	}
	if u.Endpoint.IsValid() {
		p.Endpoint = u.Endpoint
	}
	if u.HasPersistentKeepalive {
		p.PersistentKeepalive = u.PersistentKeepalive
	}
	if u.ReplaceAllowedIPs {
		p.AllowedIPs = nil
	}
	for _, a := range u.AllowedIPs {
		d.allow(p, a)
	}
}

func (d *fakeDevice) allow(p *config.Peer, a config.AllowedIP) {
	same := func(x netip.Prefix) bool { return x == a.Prefix }
	if a.Remove {
		p.AllowedIPs = slices.DeleteFunc(p.AllowedIPs, same)
		return
	}
	if slices.ContainsFunc(p.AllowedIPs, same) {
		return
	}
	for _, q := range d.peers {
		q.AllowedIPs = slices.DeleteFunc(q.AllowedIPs, same)
	}
	p.AllowedIPs = append(p.AllowedIPs, a.Prefix)
}

func (d *fakeDevice) Describe(head func(*config.Interface) error, peer func(*config.Peer) error) error {
	d.mu.Lock()
	iface, peers := d.iface, slices.Clone(d.peers)
	d.mu.Unlock()
	if err := head(&iface); err != nil {
		return err
	}
	for _, p := range peers {
		if err := peer(p); err != nil {
			return err
		}
	}
	return nil
}
