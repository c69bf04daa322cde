package device

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"

	"culvert/device/config"
	"culvert/noise/noisetest"
)

// manyPeers is an update with n peers, each with an IPv4 and an IPv6 address and an
// endpoint.
func manyPeers(n int) *config.Update {
	u := &config.Update{}
	for i := range uint32(n) {
		var k config.PublicKey
		binary.BigEndian.PutUint32(k[:], i)
		k[31] = 1
		v4, v6 := [4]byte{10}, [16]byte{0xfd}
		binary.BigEndian.PutUint32(v4[:], 10<<24|i)
		binary.BigEndian.PutUint32(v6[12:], i)
		u.Peers = append(u.Peers, config.PeerUpdate{
			PublicKey: k, Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(i)),
			AllowedIPs: []config.AllowedIP{{Prefix: netip.PrefixFrom(netip.AddrFrom4(v4), 32)}, {Prefix: netip.PrefixFrom(netip.AddrFrom16(v6), 128)}},
		})
	}
	return u
}

// heap is the bytes that live.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A peer that is configured and idle takes less than 800 bytes of the heap, allowed IPs
// and tables included, and a peer that is gone nothing.
func TestIdlePeersAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, most = 50_000, 800
		p := newPair(t, Options{})
		before := heap()
		if err := p.a.d.Configure(manyPeers(n)); err != nil {
			t.Fatal(err)
		}
		if each := (heap() - before) / n; each > most {
			t.Errorf("%d bytes each, want at most %d", each, most)
		}
		if err := p.a.d.Configure(&config.Update{ReplacePeers: true}); err != nil {
			t.Fatal(err)
		}
		if left := heap() - before; left > n*10 {
			t.Errorf("%d bytes are left of %d peers", left, n)
		}
		runtime.KeepAlive(p)
	})
}

// What a device says that it keeps is what the heap has grown by, to 8 %:
// of idle peers, and of sessions.
func TestHoldings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, Options{})
		check := func(what string, before, said int64) {
			t.Helper()
			grown, told := heap()-before, p.a.bytes()-said
			if ratio := float64(told) / float64(grown); ratio < 0.92 || ratio > 1.08 {
				t.Errorf("%s: %d bytes are told of %d: %+v", what, told, grown, p.a.d.Holdings())
			}
		}
		const n = holdingsChunk + 5 // and the other host, whose addresses some of them take
		before, said := heap(), p.a.bytes()
		if err := p.a.d.Configure(manyPeers(n)); err != nil {
			t.Fatal(err)
		}
		check("idle peers", before, said)
		before, said = heap(), p.a.bytes()
		i := uint32(0)
		for peer := range p.a.d.controller.peers.all { // nothing happens, so the controller waits
			keys, _ := noisetest.Keypairs(t, uint64(i))
			k := newKeypair(peer, keys, 1, jitter)
			peer.needSecrets().keys[1] = k
			p.a.d.index.setKeypair(i, k)
			k.window.Accept(300)
			k.wideWindow.Store(true)
			i++
		}
		check("sessions", before, said)
		want := map[string]int{"peers": n + 1, "endpoints": n + 1, "allowed_ip_tables": 2 * n, "allowed_ip_lists": n + 1,
			"sessions": n + 1, "keypairs": n + 1, "replay_windows": n + 1, "receiver_indices": n + 1, "handshakes": 0, "peer_queues": 0}
		for _, h := range p.a.d.Holdings() {
			if count, ok := want[h.Kind]; ok && h.Count != count {
				t.Errorf("%s: %d, want %d", h.Kind, h.Count, count)
			}
			if h.Kind == "allowed_ip_lists" && h.Bytes < n*2*24 {
				t.Errorf("lists of two prefixes have %d bytes each", h.Bytes/n)
			}
		}
		for j := range i {
			p.a.d.index.release(j)
		}
		runtime.KeepAlive(p)
	})
}

// bytes is all that it says that it keeps.
func (h *host) bytes() (sum int64) {
	for _, x := range h.d.Holdings() {
		sum += x.Bytes
	}
	return sum
}

// A wide replay window is told of, by who received into it, and a device that has ended
// has nothing to tell.
func TestHoldingsOfTraffic(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		windows := func() (n int) {
			for _, h := range p.a.d.Holdings() {
				if h.Kind == "replay_windows" {
					n = h.Count
				}
			}
			return n
		}
		if n := windows(); n != 0 {
			t.Fatalf("%d wide windows", n)
		}
		for range 300 {
			p.b.send(p.b.packet4(p.a, "x"))
		}
		p.a.received()
		if n := windows(); n != 1 {
			t.Errorf("%d wide windows, want 1", n)
		}
		p.a.close()
		if p.a.d.Holdings() != nil {
			t.Error("it is closed, and tells")
		}
	})
}

// What a session has, keypair, secrets and place in the index, is less than 640 bytes,
// and 1 KiB more once it has received 256 messages: with an idle peer's 800 bytes and
// what the other key slots and the timers take that is less than 4 KiB.
func TestSessionsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, most = 200, 640
		p := newPair(t, Options{})
		peer := p.a.peer(p.b)
		before := heap()
		kept := make([]*keypair, n)
		for i := range kept {
			keys, _ := noisetest.Keypairs(t, uint64(i))
			kept[i] = newKeypair(peer, keys, 1, jitter)
			p.a.d.index.setKeypair(keys.LocalIndex+uint32(i), kept[i])
		}
		if each := (heap() - before) / n; each > most {
			t.Errorf("%d bytes each, want at most %d", each, most)
		}
		for i, k := range kept {
			p.a.d.index.release(k.keys.LocalIndex + uint32(i))
		}
	})
}
