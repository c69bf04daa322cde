package device

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
	"culvert/noise"
	"culvert/timers"
	"culvert/tun/tuntest"
)

func prefixes(all ...string) (out []config.AllowedIP) {
	for _, s := range all {
		if s[0] == '-' {
			out = append(out, config.AllowedIP{Prefix: netip.MustParsePrefix(s[1:]), Remove: true})
		} else {
			out = append(out, config.AllowedIP{Prefix: netip.MustParsePrefix(s)})
		}
	}
	return out
}

// described is all that Describe says.
func (h *host) described() (i config.Interface, peers []config.Peer) {
	h.t.Helper()
	err := h.d.Describe(func(got *config.Interface) error { i = *got; return nil }, func(p *config.Peer) error {
		c := *p
		c.AllowedIPs = append([]netip.Prefix(nil), p.AllowedIPs...)
		peers = append(peers, c)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return i, peers
}

func (h *host) allowed(k config.PublicKey) string {
	h.t.Helper()
	_, peers := h.described()
	for _, p := range peers {
		if p.PublicKey == k {
			return fmt.Sprint(p.AllowedIPs)
		}
	}
	return "no such peer"
}

// What was set is what is described.
func TestDescribeSaysWhatWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, newLAN(t), 1, Options{})
		k1, k2 := config.PublicKey{1}, config.PublicKey{2}
		unclamped := config.PrivateKey{0xff}
		h.configure(&config.Update{HasPrivateKey: true, PrivateKey: unclamped, HasListenPort: true, ListenPort: 1234, HasFirewallMark: true, FirewallMark: 7,
			Peers: []config.PeerUpdate{
				{PublicKey: k2, HasPresharedKey: true, PresharedKey: config.PresharedKey{9}, Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:9"),
					HasPersistentKeepalive: true, PersistentKeepalive: 0xffff, AllowedIPs: prefixes("10.2.0.0/16", "0.0.0.0/0", "fd00::/8")},
				{PublicKey: k1},
			}})
		clamped := unclamped
		clamped.Clamp()
		i, peers := h.described()
		if want := (config.Interface{PrivateKey: clamped, ListenPort: 1234, FirewallMark: 7}); i != want {
			t.Errorf("the interface is %+v", i)
		}
		want := []config.Peer{
			{PublicKey: k2, PresharedKey: config.PresharedKey{9}, Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:9"), PersistentKeepalive: 0xffff,
				AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00::/8")}},
			{PublicKey: k1},
		}
		peers[0].TxBytes = 0 // it may have tried already
		if !reflect.DeepEqual(peers, want) {
			t.Errorf("the peers are %+v", peers)
		}
		// What is not named stays.
		h.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: k2}}})
		if j, again := h.described(); j != i || len(again) != 2 || again[0].PresharedKey != want[0].PresharedKey ||
			again[0].PersistentKeepalive != 0xffff || len(again[0].AllowedIPs) != 3 || again[0].Endpoint != want[0].Endpoint {
			t.Errorf("an empty update changed %+v", again)
		}
		// Zero clears.
		h.configure(&config.Update{HasPrivateKey: true, HasFirewallMark: true, Peers: []config.PeerUpdate{
			{PublicKey: k2, HasPresharedKey: true, HasPersistentKeepalive: true, ReplaceAllowedIPs: true}}})
		if j, again := h.described(); j != (config.Interface{ListenPort: 1234}) || again[0].PresharedKey != (config.PresharedKey{}) ||
			again[0].PersistentKeepalive != 0 || len(again[0].AllowedIPs) != 0 || again[0].Endpoint != want[0].Endpoint {
			t.Errorf("zeros did not clear: %+v, %+v", j, again)
		}
	})
}

// Allowed IPs move from peer to peer, are replaced, and are removed from their
// owner only; packets follow at once.
func TestAllowedIPs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, newLAN(t), 1, Options{})
		k1, k2 := config.PublicKey{1}, config.PublicKey{2}
		for i, step := range []struct {
			update []config.PeerUpdate
			one    string
			two    string
		}{
			{[]config.PeerUpdate{{PublicKey: k1, AllowedIPs: prefixes("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")}, {PublicKey: k2}},
				"[10.1.0.0/16 10.2.0.0/16 10.3.0.0/16]", "[]"},
			{[]config.PeerUpdate{{PublicKey: k2, AllowedIPs: prefixes("10.2.0.0/16")}}, "[10.1.0.0/16 10.3.0.0/16]", "[10.2.0.0/16]"},
			{[]config.PeerUpdate{{PublicKey: k1, AllowedIPs: prefixes("-10.2.0.0/16", "-10.9.0.0/16")}}, "[10.1.0.0/16 10.3.0.0/16]", "[10.2.0.0/16]"},
			{[]config.PeerUpdate{{PublicKey: k2, AllowedIPs: prefixes("-10.2.0.0/16")}}, "[10.1.0.0/16 10.3.0.0/16]", "[]"},
			{[]config.PeerUpdate{{PublicKey: k1, ReplaceAllowedIPs: true, AllowedIPs: prefixes("10.3.0.0/16")}}, "[10.3.0.0/16]", "[]"},
			{[]config.PeerUpdate{{PublicKey: k1, AllowedIPs: prefixes("10.4.0.0/16")}, {PublicKey: k2, AllowedIPs: prefixes("10.4.0.0/16")},
				{PublicKey: k1, AllowedIPs: prefixes("10.5.0.0/16")}}, "[10.3.0.0/16 10.5.0.0/16]", "[10.4.0.0/16]"},
			{[]config.PeerUpdate{{PublicKey: k1, Remove: true}}, "no such peer", "[10.4.0.0/16]"},
			{[]config.PeerUpdate{{PublicKey: k1, UpdateOnly: true, AllowedIPs: prefixes("10.4.0.0/16")}}, "no such peer", "[10.4.0.0/16]"},
		} {
			h.configure(&config.Update{Peers: step.update})
			if one, two := h.allowed(k1), h.allowed(k2); one != step.one || two != step.two {
				t.Errorf("step %d: %v and %v, not %v and %v", i, one, two, step.one, step.two)
			}
		}
		if p := h.d.routes.Lookup(netip.MustParseAddr("10.4.1.1")); p == nil || p.public != k2 {
			t.Error("a packet does not find its peer")
		}
		if p := h.d.routes.Lookup(netip.MustParseAddr("10.3.1.1")); p != nil {
			t.Error("a packet finds a peer that was removed")
		}
	})
}

// replace_peers: who is not listed goes; who is keeps the session, the counters
// and the endpoint, but nothing else that is not named anew.
func TestReplacePeers(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		extra := config.PublicKey{7}
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{
			{PublicKey: extra, AllowedIPs: prefixes("10.7.0.0/16")},
			{PublicKey: p.b.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{1}, HasPersistentKeepalive: true, PersistentKeepalive: 100,
				AllowedIPs: prefixes("10.8.0.0/16")}}})
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{1}}}})
		sleep(6 * time.Second)
		p.connect()
		before := p.a.status(p.b)
		p.a.configure(&config.Update{ReplacePeers: true, Peers: []config.PeerUpdate{{PublicKey: p.b.public, AllowedIPs: prefixes("10.0.0.2/32")}}})
		after := p.a.status(p.b)
		if _, peers := p.a.described(); len(peers) != 1 {
			t.Errorf("%d peers", len(peers))
		}
		if after.PresharedKey != (config.PresharedKey{}) || after.PersistentKeepalive != 0 || fmt.Sprint(after.AllowedIPs) != "[10.0.0.2/32]" {
			t.Errorf("it keeps what was not named: %+v", after)
		}
		if after.Endpoint != before.Endpoint || after.RxBytes != before.RxBytes || after.LastHandshake != before.LastHandshake {
			t.Errorf("it loses what it should keep: %+v", after)
		}
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		p.want("a>b data 64")
		if p.a.d.routes.Lookup(netip.MustParseAddr("10.7.0.1")) != nil || p.a.d.routes.Lookup(netip.MustParseAddr("10.8.0.1")) != nil {
			t.Error("old routes are left")
		}
		p.a.configure(&config.Update{ReplacePeers: true})
		if p.a.d.index.len() != 0 {
			t.Error("the session of a removed peer is left")
		}
	})
}

// A peer with our own key is ignored, and one that has it when we take it goes.
func TestOwnKeyIsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, AllowedIPs: prefixes("10.5.0.0/16")}}})
		if _, peers := p.a.described(); len(peers) != 1 {
			t.Error("we are our own peer")
		}
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: p.b.key, Peers: []config.PeerUpdate{{PublicKey: p.b.public}, {PublicKey: p.a.public}}})
		_, peers := p.a.described()
		if len(peers) != 1 || peers[0].PublicKey != p.a.public {
			t.Errorf("peers after the change of key: %v", peers)
		}
	})
}

// Setting anything to what it is changes nothing: no socket is opened, no
// session dropped, nothing sent.
func TestSameValuesChangeNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		all := peerOf(p.b)
		all.HasPresharedKey, all.PresharedKey = true, config.PresharedKey{5}
		all.HasPersistentKeepalive, all.PersistentKeepalive = true, 25
		u := &config.Update{HasPrivateKey: true, PrivateKey: p.a.key, HasListenPort: true, ListenPort: 51820, HasFirewallMark: true, FirewallMark: 3,
			Peers: []config.PeerUpdate{all}}
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.a.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{5}}}})
		p.a.configure(u)
		p.connect()
		opens, key, endpoint := p.a.net.opens.Load(), p.a.peer(p.b).sendKey.Load(), p.a.peer(p.b).endpoint.Load()
		for _, replace := range []bool{false, true} {
			u.ReplacePeers = replace
			u.Peers[0].ReplaceAllowedIPs = replace
			p.a.configure(u)
			p.want("")
			if p.a.net.opens.Load() != opens || p.a.peer(p.b).sendKey.Load() != key || p.a.peer(p.b).endpoint.Load() != endpoint {
				t.Error("something changed")
			}
		}
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		p.want("a>b data 64")
	})
}

// A port in use: an error that says so, the old port works on, and nothing of
// the update is applied.
func TestPortInUse(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		other, err := p.a.net.Listen(7777, 0)
		if err != nil {
			t.Fatal(err)
		}
		before, peersBefore := p.a.described()
		err = p.a.d.Configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{5}, HasListenPort: true, ListenPort: 7777,
			HasFirewallMark: true, FirewallMark: 9, ReplacePeers: true, Peers: []config.PeerUpdate{{PublicKey: config.PublicKey{5}}}})
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
		if i, peers := p.a.described(); i != before || !reflect.DeepEqual(peers, peersBefore) {
			t.Errorf("half of the update was applied: %+v %+v", i, peers)
		}
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		p.want("a>b data 64")
		other.Close()
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 7777}) // now it is free
		p.a.send(x)
		p.b.wantReceived(x)
		d := p.lan.reset()
		if len(d) != 1 || d[0].from.Port() != 7777 {
			t.Error("the new port is not used")
		}
		p.b.send(p.b.packet4(p.a, "y")) // b has followed
		p.a.wantReceived(p.b.packet4(p.a, "y"))
		if p.a.net.open() != 1 {
			t.Error("the old sockets are still open")
		}
	})
}

// A port that somebody is about to let go is waited for a moment.
func TestPortLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		other, err := p.a.net.Listen(7777, 0)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(portPause*portTries/2, func() { other.Close() })
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 7777})
		if i, _ := p.a.described(); i.ListenPort != 7777 {
			t.Errorf("the port is %d", i.ListenPort)
		}
	})
}

// Port 0 picks one, which is told and kept over down and up.
func TestPortZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.a.configure(&config.Update{HasListenPort: true})
		i, _ := p.a.described()
		if i.ListenPort == 0 || i.ListenPort == 51820 {
			t.Errorf("the port is %d", i.ListenPort)
		}
		p.a.tun.Down()
		synctest.Wait()
		p.a.tun.Up()
		synctest.Wait()
		if again, _ := p.a.described(); again != i {
			t.Errorf("the port is now %d", again.ListenPort)
		}
		p.a.tun.Down()
		synctest.Wait()
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 51820})
		p.a.tun.Up()
		synctest.Wait()
		p.connect()
	})
}

// The firewall mark is set on the sockets, those there are and those to come.
func TestFirewallMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		mark := func() uint32 {
			p.lan.reset()
			p.a.send(p.a.packet4(p.b, "x"))
			synctest.Wait()
			return p.lan.reset()[0].mark
		}
		opens := p.a.net.opens.Load()
		p.a.configure(&config.Update{HasFirewallMark: true, FirewallMark: 5})
		if mark() != 5 || p.a.net.opens.Load() != opens {
			t.Error("the mark is not on the socket, or it was opened anew")
		}
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 5555})
		if mark() != 5 {
			t.Error("the mark is not on the new socket")
		}
		p.a.configure(&config.Update{HasListenPort: true, ListenPort: 5556, HasFirewallMark: true})
		if mark() != 0 {
			t.Error("the mark is still there")
		}
	})
}

// Another private key ends the sessions of the old one; with it begins a new
// one, also within REKEY_TIMEOUT. No key: nothing is initiated or answered.
func TestPrivateKeyChange(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		other := config.PrivateKey{3}
		id, _ := noise.NewIdentity(&other)
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: other})
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: id.PublicKey(), AllowedIPs: prefixes("10.0.0.1/32", "fd00::1/128")}}})
		p.a.public = id.PublicKey()
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x)
		p.want("a>b initiation, b>a response, a>b data 64")

		p.a.configure(&config.Update{HasPrivateKey: true})
		p.a.send(x)
		sleep(time.Second)
		p.want("")
		sleep(11 * time.Second)
		p.a.configure(&config.Update{HasPrivateKey: true, PrivateKey: other})
		sleep(6 * time.Second)
		p.b.wantReceived(x)
	})
}

// A preshared key counts from the next handshake on.
func TestPresharedKey(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		set := func(h, o *host) {
			h.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: o.public, HasPresharedKey: true, PresharedKey: config.PresharedKey{1, 2}}}})
		}
		set(p.a, p.b)
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.b.wantReceived(x) // the session lives on
		p.want("a>b data 64")
		sleep(timers.RekeyAfterTime + timers.MaxRekeyJitter)
		p.lan.reset()
		p.a.send(x)
		sleep(time.Second)
		p.b.wantReceived(x)
		p.wantBeside("a>b data 64", "a>b initiation, b>a response")
		p.a.wantDrops(map[Reason]uint64{DropBadHandshake: 1})
		set(p.b, p.a)
		sleep(6 * time.Second)
		p.want("a>b initiation, b>a response, a>b keepalive")
	})
}

// A new endpoint without a session initiates at once, also when the last
// initiation was just now; with a session the session goes on there.
func TestNewEndpoint(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		move := func(s string) {
			p.a.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: p.b.public, Endpoint: netip.MustParseAddrPort(s)}}})
		}
		move("192.0.2.66:1")
		p.want("a>192.0.2.66 initiation")
		x := p.a.packet4(p.b, "x")
		p.a.send(x)
		p.want("")
		move("192.0.2.2:51820")
		p.want("a>b initiation, b>a response, a>b data 64")
		p.b.wantReceived(x)
		move("192.0.2.67:1")
		p.want("")
		p.a.send(x)
		p.want("a>192.0.2.67 data 64")
	})
}

// A peer without an endpoint answers as soon as it learns one.
func TestPeerWithoutEndpoint(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		l := newLAN(t)
		p := &pair{lan: l, a: newHost(t, l, 1, opts), b: newHost(t, l, 2, opts), parallel: opts.AlwaysParallel}
		u := peerOf(p.a)
		u.Endpoint = netip.AddrPort{}
		p.b.configure(&config.Update{Peers: []config.PeerUpdate{u}})
		p.a.knows(p.b)
		p.connect()
	})
}

// Peers are described in the order they were added, however many come and go.
func TestDescribeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, newLAN(t), 1, Options{})
		var want []config.PublicKey
		key := func(i int) config.PublicKey { return config.PublicKey{byte(i), byte(i >> 8), 1} }
		u := &config.Update{}
		for i := range 1000 {
			u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: key(i * 7919 % 1000)})
		}
		h.configure(u)
		u.Peers = nil
		for i := range 1000 {
			if k := i * 7919 % 1000; k%3 == 0 {
				u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: key(k), Remove: true})
			} else {
				want = append(want, key(k))
			}
		}
		h.configure(u)
		h.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: key(3)}, {PublicKey: key(1)}}})
		want = append(want, key(3))
		check := func() {
			t.Helper()
			var got []config.PublicKey
			_, peers := h.described()
			for _, p := range peers {
				got = append(got, p.PublicKey)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d peers, or in another order than the %d that there are", len(got), len(want))
			}
		}
		check()
		for i, k := range want { // the list is packed on the way
			if i%10 != 0 {
				h.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: k, Remove: true}}})
			}
		}
		kept := want[:0:0]
		for i, k := range want {
			if i%10 == 0 {
				kept = append(kept, k)
			}
		}
		want = kept
		check()
	})
}

// Describe streams: a reader may take its time, peers come and go meanwhile,
// and those that stay are told once each.
func TestDescribeWhilePeersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, newLAN(t), 1, Options{})
		key := func(kind byte, i int) config.PublicKey { return config.PublicKey{byte(i), byte(i >> 8), kind} }
		u := &config.Update{}
		for i := range 600 {
			u.Peers = append(u.Peers, config.PeerUpdate{PublicKey: key('s', i), AllowedIPs: []config.AllowedIP{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)}}},
				config.PeerUpdate{PublicKey: key('g', i)})
		}
		h.configure(u)
		seen, n := map[config.PublicKey]int{}, 0
		err := h.d.Describe(func(*config.Interface) error { return nil }, func(p *config.Peer) error {
			seen[p.PublicKey]++
			if p.PublicKey[2] == 's' && (len(p.AllowedIPs) != 1 || p.AllowedIPs[0].Addr().As4()[3] != p.PublicKey[0]) {
				t.Errorf("peer %v has the allowed IPs %v", p.PublicKey[:2], p.AllowedIPs)
			}
			h.configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: key('g', 599-n%600), Remove: true}, {PublicKey: key('n', n%600)}}})
			n++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 600 {
			if seen[key('s', i)] != 1 {
				t.Fatalf("a peer that stayed was told %d times", seen[key('s', i)])
			}
		}
		for k, n := range seen {
			if n != 1 {
				t.Errorf("peer %v was told %d times", k[:3], n)
			}
		}
		stop := errors.New("enough")
		if err := h.d.Describe(func(*config.Interface) error { return nil }, func(*config.Peer) error { return stop }); err != stop {
			t.Errorf("the reader's error came back as %v", err)
		}
		if err := h.d.Describe(func(*config.Interface) error { return stop }, nil); err != stop {
			t.Errorf("the reader's error came back as %v", err)
		}
	})
}

// The counters are those of the kernel: after a handshake and ten pings, all of
// 56 bytes, as BEHAVIOUR has it.
func TestCounters(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		want := func(h, o *host, rx, tx uint64) {
			t.Helper()
			synctest.Wait()
			if s := h.status(o); s.RxBytes != rx || s.TxBytes != tx {
				t.Errorf("%s: received %d, sent %d, not %d and %d", h.name, s.RxBytes, s.TxBytes, rx, tx)
			}
		}
		for i := range uint16(10) {
			ping := tuntest.Ping(p.a.inner4, p.b.inner4, 1, i, make([]byte, 56))
			pong := tuntest.Ping(p.b.inner4, p.a.inner4, 1, i, make([]byte, 56))
			p.a.send(ping)
			p.b.wantReceived(ping)
			p.b.send(pong)
			p.a.wantReceived(pong)
		}
		want(p.a, p.b, 92+10*128, 148+10*128)
		want(p.b, p.a, 148+10*128, 92+10*128)
		p.a.send(tuntest.Ping(p.a.inner4, p.b.inner4, 1, 10, make([]byte, 56)))
		sleep(11 * time.Second) // a keepalive comes back
		want(p.a, p.b, 92+10*128+32, 148+11*128)
		p.b.received()

		rx, tx := uint64(92+10*128+32), uint64(148+11*128)
		p.b.send(tuntest.UDP(netip.MustParseAddrPort("10.0.0.3:1"), netip.AddrPortFrom(p.a.inner4, 1), nil)) // fails the source check
		want(p.a, p.b, rx, tx)
		p.lan.inject(nowhere, p.a.outer, 0, make([]byte, 2000))
		m := p.b.sealed(p.a, p.b.packet4(p.a, "padded to 48"))
		p.lan.inject(p.b.outer, p.a.outer, 0, m)
		p.lan.inject(p.b.outer, p.a.outer, 0, m) // a replay
		want(p.a, p.b, rx+uint64(len(m)), tx)
		p.lan.setFate(func(d *datagram) { d.err = syscall.EPERM })
		p.a.send(p.a.packet4(p.b, "refused by the system"))
		want(p.a, p.b, rx+uint64(len(m)), tx)
		p.lan.setFate(lossOf(everything))
		p.a.send(p.a.packet4(p.b, "lost"))
		want(p.a, p.b, rx+uint64(len(m)), tx+64)
		big := p.a.packet4(p.b, string(make([]byte, 1420-28-3)))
		p.a.send(big) // padded to the MTU, no further
		want(p.a, p.b, rx+uint64(len(m)), tx+64+1420+32)
	})
}

// The interface's MTU limits the padding from the moment it changes.
func TestMTUChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		p.connect()
		p.a.tun.SetMTU(1290)
		synctest.Wait()
		p.a.send(p.a.packet4(p.b, string(make([]byte, 1285-28))))
		p.want(fmt.Sprint("a>b data ", 1290+32))
		if p.a.d.MTU() != 1290 {
			t.Error("MTU is not told")
		}
	})
}
