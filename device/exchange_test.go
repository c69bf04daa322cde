package device

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn/conntest"
	"culvert/tun/tuntest"
)

// Packets of both versions and of all sizes go both ways: each once, in order,
// unmodified; whoever does the work and whether or not the network merges.
func TestExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		for _, merge := range []bool{false, true} {
			p := newPair(t, opts)
			p.lan.quiet = true
			p.lan.SetGRO(merge)
			for _, way := range [][2]*host{{p.a, p.b}, {p.b, p.a}} {
				from, to := way[0], way[1]
				var want [][]byte
				for n := range 1373 {
					payload := strings.Repeat(string(rune('a'+n%26)), n)
					x := from.packet4(to, payload)
					if n%2 == 1 {
						x = from.packet6(to, payload)
					}
					want = append(want, x)
					from.send(x)
					if n == 0 || n%100 == 50 { // the first one shakes hands; else short queues and long ones
						synctest.Wait()
					}
				}
				to.wantReceived(want...)
			}
			p.a.wantDrops(nil)
			p.b.wantDrops(nil)
			p.a.close()
			p.b.close()
		}
	})
}

// Super-packets come out as their segments.
func TestExchangeSuperPackets(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.lan.SetGRO(true)
		data := make([]byte, 60_000)
		rand.NewChaCha8([32]byte{1}).Read(data)
		for _, six := range []bool{false, true} {
			src, dst := netip.AddrPortFrom(p.a.inner4, 80), netip.AddrPortFrom(p.b.inner4, 4000)
			if six {
				src, dst = netip.AddrPortFrom(p.a.inner6, 80), netip.AddrPortFrom(p.b.inner6, 4000)
			}
			header := len(tuntest.TCP(src, dst, tuntest.TCPHeader{}, nil))
			var got, want []byte
			for seq := 0; seq+10_000 < len(data); seq += 10_000 { // the first one is staged
				part := data[seq : seq+10_000+seq/100]
				p.a.tun.SendVirtio(tuntest.Super(tuntest.TCP(src, dst, tuntest.TCPHeader{Seq: uint32(seq)}, part), 1300, 0))
				want = append(want, part...)
				synctest.Wait()
			}
			for _, x := range p.b.received() {
				if len(x) > header+1300 {
					t.Fatalf("a segment of %d bytes", len(x))
				}
				got = append(got, x[header:]...)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes came out, %d went in, or they differ", len(got), len(want))
			}
		}
		p.a.wantDrops(nil)
		p.b.wantDrops(nil)
	})
}

// A network that loses, repeats, corrupts and delays: what arrives is what was sent, at
// most once; all of it if nothing is lost; in order if nothing overtakes.
func TestExchangeBadNetwork(t *testing.T) {
	const packets = 3000
	for name, link := range map[string]conntest.Link{
		"lossy":     {Loss: 0.2},
		"repeating": {Duplicate: 0.3},
		"both":      {Loss: 0.2, Duplicate: 0.3},
		"unordered": {Jitter: 20 * time.Millisecond, Duplicate: 0.3},
		"corrupt":   {Corrupt: 0.2},
		"all":       {Loss: 0.1, Corrupt: 0.1, Duplicate: 0.3, Reorder: 0.2, ReorderBy: 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				p := newPair(t, opts)
				p.connect()
				p.lan.quiet = true
				p.lan.SetDefaultLink(link)
				for i := range packets {
					p.a.send(p.a.packet4(p.b, fmt.Sprint(i)))
					if i%50 == 0 {
						sleep(5 * time.Millisecond)
					}
				}
				sleep(time.Second)
				seen, last, ordered := map[int]bool{}, -1, true
				for _, x := range p.b.received() {
					var i int
					if _, err := fmt.Sscan(string(x[28:]), &i); err != nil || !bytes.Equal(x, p.a.packet4(p.b, fmt.Sprint(i))) {
						t.Fatalf("a packet nobody sent: % x", x)
					}
					if seen[i] {
						t.Fatalf("packet %d came twice", i)
					}
					ordered = ordered && i > last
					seen[i], last = true, i
				}
				if losing := link.Loss+link.Corrupt > 0; !losing && len(seen) != packets || losing && (len(seen) == packets || len(seen) < packets/2) {
					t.Errorf("%d of %d packets came; %s; %s", len(seen), packets, p.a.allDrops(), p.b.allDrops())
				}
				if disordered := link.Jitter+link.ReorderBy > 0; ordered == disordered {
					t.Errorf("in order: %v", ordered)
				}
				if got := p.b.drops(DropReplay) > 0; got != (link.Duplicate > 0) {
					t.Errorf("replays dropped: %v", got)
				}
				if got := p.b.drops(DropBadTag) > 0; got != (link.Corrupt > 0) {
					t.Errorf("forgeries dropped: %v", got)
				}
			})
		})
	}
}
