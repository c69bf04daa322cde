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
			kept[i] = newKeypair(peer, keys, 1)
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
