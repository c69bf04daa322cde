package device

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
)

// footprint is what a device holds when nothing moves.
type footprint struct {
	indices, keys, in, out, read, stage, armed int
}

func (h *host) footprint() (f footprint) {
	synctest.Wait()
	f = footprint{indices: h.d.index.len(), in: h.d.inPool.inUse(), out: h.d.outPool.inUse(), read: h.d.readPool.inUse(),
		stage: int(h.d.stageBudget.used.Load())}
	h.d.do(func() {
		f.armed = h.d.controller.wheel.Len()
		for p := range h.d.controller.peers.all {
			for _, k := range p.keypairs() {
				if k != nil {
					f.keys++
				}
			}
		}
	})
	return f
}

// Half a day of traffic at the protocol's own limits: a key every two minutes, and
// every ten minutes something happens. What is sent while nothing does, arrives, each
// packet; and what both devices hold at the end of each hour, they held after the first.
func TestHoursOfTraffic(t *testing.T) {
	hours := 12
	if testing.Short() {
		hours = 3
	}
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.quiet = true
		first, goroutines := p.hourOfTraffic(t, 0), runtime.NumGoroutine()
		for hour := 1; hour < hours; hour++ {
			f, more := p.hourOfTraffic(t, hour), runtime.NumGoroutine()-goroutines
			if f != first {
				t.Fatalf("after hour %d:\n%+v\nafter the first:\n%+v", hour+1, f, first)
			}
			if more > 5 { // the runtime has one or the other of its own; 30 keys an hour would have left 30
				t.Fatalf("after hour %d: %d goroutines more than after the first", hour+1, more)
			}
		}
		if age := time.Since(p.a.status(p.b).LastHandshake); age > 3*time.Minute {
			t.Errorf("the last handshake was %v ago", age)
		}
	})
}

// hourOfTraffic has six disturbances and gives what both hosts hold after it.
func (p *pair) hourOfTraffic(t *testing.T, hour int) (f [2]footprint) {
	t.Helper()
	for i, disturb := range []func(){
		func() { p.roam(hour) }, p.churn, func() { p.a.net.BreakReceivers(syscall.EBADF) },
		func() { p.a.tun.Down(); synctest.Wait(); p.a.tun.Up() },
		func() { p.reshare(byte(hour)) },
		func() {
			p.lan.Partition(p.a.net.Host, p.b.net.Host)
			sleep(time.Minute)
			p.lan.Heal(p.a.net.Host, p.b.net.Host)
		},
	} {
		disturb()
		p.chat(30 * time.Second) // in which packets may be lost
		sent, received := p.chat(9 * time.Minute)
		if sent != received {
			t.Fatalf("hour %d, part %d: %d packets sent, %d received; %s; %s", hour+1, i+1, sent, received, p.a.allDrops(), p.b.allDrops())
		}
	}
	sleep(20 * time.Second) // the last keepalive
	return [2]footprint{p.a.footprint(), p.b.footprint()}
}

// chat has both send a packet every 3 s, and counts.
func (p *pair) chat(d time.Duration) (sent, received int) {
	for i := range int(d / (3 * time.Second)) {
		p.a.send(p.a.packet4(p.b, fmt.Sprint(i)))
		p.b.send(p.b.packet6(p.a, fmt.Sprint(i)))
		sent += 2
		sleep(3 * time.Second)
		received += len(p.a.received()) + len(p.b.received())
	}
	return sent, received
}

// roam gives a other addresses, or the old ones.
func (p *pair) roam(hour int) {
	second := byte(1 + 100*((hour+1)%2))
	p.a.net.Move(netip.AddrFrom4([4]byte{192, 0, 2, second}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", second)))
}

// churn adds peers that answer nothing, and removes them.
func (p *pair) churn() {
	add, remove := &config.Update{}, &config.Update{}
	for i := range 50 {
		u := config.PeerUpdate{PublicKey: config.PublicKey{9: byte(i), 31: 1}, HasPersistentKeepalive: true, PersistentKeepalive: 1,
			Endpoint: netip.AddrPortFrom(nowhere.Addr(), uint16(1+i)), AllowedIPs: []config.AllowedIP{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(i)}), 32)}}}
		add.Peers = append(add.Peers, u)
		remove.Peers = append(remove.Peers, config.PeerUpdate{PublicKey: u.PublicKey, Remove: true})
	}
	p.a.configure(add)
	sleep(10 * time.Second)
	p.a.configure(remove)
}

// reshare sets another preshared key at both.
func (p *pair) reshare(n byte) {
	for _, x := range [][2]*host{{p.a, p.b}, {p.b, p.a}} {
		x[0].configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: x[1].public, HasPresharedKey: true, PresharedKey: config.PresharedKey{n, 1}}}})
	}
}
