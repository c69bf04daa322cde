package device

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
	"culvert/noise/noisetest"
	"culvert/tun"
	"culvert/tun/tuntest"
)

// A rig is a device whose pipes the test drives itself, packet by packet, between
// a TUN and a network that take everything and keep nothing.
type rig struct {
	d     *Device
	tun   *sinkTUN
	net   *sinkNet
	peers []*rigPeer
	out   *outbound
	in    *inbound
}

type rigPeer struct {
	p      *peer
	key    *keypair       // ours
	remote *noise.Keypair // theirs
	sent   uint64         // counter of their next message
	inner4 netip.AddrPort
	inner6 netip.AddrPort
	outer  netip.AddrPort
}

// sinkTUN counts what is written.
type sinkTUN struct {
	tun.Device
	packets, bytes atomic.Int64
}

func (t *sinkTUN) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		t.packets.Add(1)
		t.bytes.Add(int64(len(b) - offset))
	}
	return len(bufs), nil
}

// sinkNet counts what is sent. Nothing is ever received.
type sinkNet struct {
	calls, runs, bytes atomic.Int64
	seen               func([]conn.Run) // called by Send, if there is one
}

func (n *sinkNet) Listen(uint16, uint32) (conn.Sockets, error) { return n, nil }
func (*sinkNet) Port() uint16                                  { return 51820 }
func (*sinkNet) Receivers() []conn.Receiver                    { return nil }
func (*sinkNet) SetMark(uint32) error                          { return nil }
func (*sinkNet) Close() error                                  { return nil }
func (n *sinkNet) Send(runs []conn.Run) {
	n.calls.Add(1)
	if n.seen != nil {
		n.seen(runs)
	}
	for i := range runs {
		n.runs.Add(1)
		n.bytes.Add(int64(len(runs[i].Data)))
	}
}

// stoppedClock stands still.
type stoppedClock struct{}

func (stoppedClock) Now() clock.Time { return clock.Time(time.Hour) }
func (stoppedClock) Wall() time.Time { return time.Unix(1_700_000_000, 0) }

var inner = netip.MustParseAddr("10.0.0.1")

// newRig makes one with n peers that have a session each.
func newRig(tb testing.TB, n int, opts Options) *rig {
	tb.Helper()
	opts.Clock = stoppedClock{}
	r := &rig{tun: &sinkTUN{Device: tuntest.NewUp(1420)}, net: &sinkNet{}}
	var err error
	if r.d, err = New(r.tun, r.net, opts); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.d.Close() })
	for r.d.sockets.Load() == nil {
		runtime.Gosched()
	}
	for i := range n {
		rp := &rigPeer{
			inner4: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 9),
			inner6: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", i)), 9),
			outer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 9),
		}
		public := config.PublicKey{byte(i), 1}
		err := r.d.Configure(&config.Update{Peers: []config.PeerUpdate{{PublicKey: public, Endpoint: rp.outer,
			AllowedIPs: prefixes(rp.inner4.Addr().String()+"/32", rp.inner6.Addr().String()+"/128")}}})
		if err != nil {
			tb.Fatal(err)
		}
		ours, theirs := noisetest.Keypairs(tb, uint64(i))
		rp.remote = theirs
		r.d.do(func() {
			rp.p = r.d.lookup(public)
			r.d.controller.install(rp.p, ours)
			r.d.controller.setSendKey(rp.p, ours)
		})
		rp.key = rp.p.sendKey.Load()
		r.peers = append(r.peers, rp)
	}
	now := r.d.clock.Now()
	r.out = &outbound{d: r.d, now: now, mtu: 1420, load: r.d.newLoad()}
	r.in = &inbound{d: r.d, now: now, load: r.d.newLoad()}
	return r
}

// message appends a sealed transport message of rp to b.
func (rp *rigPeer) message(b, plaintext []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, noise.TransportHeaderSize)...)
	b = append(b, plaintext...)
	b = append(b, make([]byte, (16-len(plaintext)%16)%16+noise.TagSize)...)
	noise.PutTransportHeader(b[at:], rp.remote.RemoteIndex, rp.sent)
	rp.remote.Send.Seal(b[at+noise.TransportHeaderSize:], rp.sent)
	rp.sent++
	return b
}

// outboundWork is a drain of the TUN: packets of both versions and of many
// sizes to several peers, super-packets, marked ones, and such as nobody wants.
func (r *rig) outboundWork() (packets []tun.Packet) {
	add := func(b []byte) {
		var p tun.Packet
		p.SetBytes(b)
		packets = append(packets, p)
	}
	src4, src6 := netip.AddrPortFrom(inner, 1), netip.MustParseAddrPort("[fd00::1]:1")
	for i := range 60 {
		rp := r.peers[i*i%len(r.peers)]
		add(tuntest.IP{TOS: byte(i % 4)}.UDP(src4, rp.inner4, make([]byte, i*23)))
		add(tuntest.UDP(src6, rp.inner6, make([]byte, 1372-i*22)))
		if i%10 == 0 {
			var p tun.Packet
			p.SetVirtio(tuntest.Super(tuntest.TCP(src4, rp.inner4, tuntest.TCPHeader{}, make([]byte, 60_000)), 1380, 0))
			packets = append(packets, p)
			add(tuntest.UDP(src4, netip.MustParseAddrPort("10.99.0.1:1"), make([]byte, 10))) // no peer; it is told, or the limit is reached
		}
	}
	return packets
}

func (r *rig) runOutbound(packets []tun.Packet) {
	for i := range packets {
		r.out.packet = packets[i]
		r.out.route()
	}
	r.out.flush()
}

// inboundWork is a receive: runs that GRO merged and single datagrams of several
// peers, keepalives, replays, forgeries, and junk.
func (r *rig) inboundWork() (messages []conn.Message) {
	add := func(rp *rigPeer, segment int, data []byte) {
		messages = append(messages, conn.Message{Data: data, Segment: segment, Remote: rp.outer, TOS: byte(len(messages) % 3)})
	}
	dst4, dst6 := netip.AddrPortFrom(inner, 1), netip.MustParseAddrPort("[fd00::1]:1")
	for i := range receiveSlots {
		rp := r.peers[i*i%len(r.peers)]
		var data []byte
		switch i % 8 {
		case 0:
			for range 30 {
				data = rp.message(data, tuntest.UDP(rp.inner4, dst4, make([]byte, 1380)))
			}
			add(rp, len(data)/30, data)
		case 1:
			add(rp, noise.KeepaliveSize, rp.message(nil, nil))
		case 2:
			add(rp, 100, bytes.Repeat([]byte{1, 2, 3, 4, 5}, 100)) // junk
		case 3:
			data = rp.message(nil, tuntest.UDP(rp.inner6, dst6, make([]byte, 100)))
			add(rp, len(data), append(data, data...)) // a replay
		case 4:
			data = rp.message(nil, tuntest.UDP(rp.inner6, dst6, make([]byte, 100)))
			data[50]++ // forged
			add(rp, len(data), data)
		case 5:
			data = rp.message(nil, tuntest.UDP(netip.MustParseAddrPort("10.9.9.9:1"), dst4, make([]byte, 100))) // not allowed
			add(rp, len(data), data)
		default:
			data = rp.message(nil, tuntest.IP{TOS: 2}.UDP(rp.inner4, dst4, make([]byte, 37*i)))
			add(rp, len(data), data)
		}
	}
	return messages
}

// runInbound takes copies of messages, as if they had just been received.
func (r *rig) runInbound(messages []conn.Message) {
	for _, rp := range r.peers {
		rp.key.window = noise.Window{}
	}
	b := r.in.batch
	if b == nil {
		b = r.d.inPool.get()
	}
	b.conn.Messages = b.conn.Messages[:0]
	for i := range messages {
		m := messages[i]
		m.Data = b.conn.Slots()[i][:copy(b.conn.Slots()[i], m.Data)]
		b.conn.Messages = append(b.conn.Messages, m)
	}
	r.in.batch = b
	r.in.sort()
	r.in.dispatch()
}

// Once it runs, nothing is allocated for packets, in or out, good or bad.
func TestNoAllocations(t *testing.T) {
	r := newRig(t, 5, Options{Workers: -1})
	for r.d.icmp.allow(r.d.clock.Now()) { // an answer is allocated
	}
	out := r.outboundWork()
	if n := testing.AllocsPerRun(100, func() { r.runOutbound(out) }); n != 0 {
		t.Errorf("%v allocations for a drain of %d packets", n, len(out))
	}
	in := r.inboundWork()
	if n := testing.AllocsPerRun(100, func() { r.runInbound(in) }); n != 0 {
		t.Errorf("%v allocations for a receive of %d runs", n, len(in))
	}
	// And it did what it looks like.
	if n := r.net.bytes.Load(); n < 101*400_000 {
		t.Errorf("%d bytes were sent in %d runs", n, r.net.runs.Load())
	}
	if got, want := r.tun.packets.Load(), int64(101*receiveSlots/8*(30+1+2)); got != want {
		t.Errorf("%d packets were received, not %d", got, want)
	}
	for _, reason := range []Reason{DropNoPeer, DropMalformed, DropReplay, DropBadTag, DropBadSource} {
		if n := r.d.drops.load(reason); n < 101*receiveSlots/8 {
			t.Errorf("%d dropped as %v", n, reason)
		}
	}
}

// Nor for the handshake messages of those who do not know our public key, also
// when it changes between two of them.
func TestNoAllocationsForAWrongMAC1(t *testing.T) {
	r := newRig(t, 1, Options{Workers: -1})
	messages := make([]conn.Message, receiveSlots)
	for i := range messages {
		data := make([]byte, []int{noise.InitiationSize, noise.ResponseSize}[i%2])
		data[0], data[len(data)-1] = byte(1+i%2), byte(i) // the type, and some mac2
		messages[i] = conn.Message{Data: data, Segment: len(data), Remote: r.peers[0].outer}
	}
	for key := range byte(2) {
		if err := r.d.Configure(&config.Update{HasPrivateKey: true, PrivateKey: config.PrivateKey{1 + key}}); err != nil {
			t.Fatal(err)
		}
		before := r.d.drops.load(DropBadMAC1)
		if n := testing.AllocsPerRun(100, func() { r.runInbound(messages) }); n != 0 {
			t.Errorf("key %d: %v allocations for a receive of %d messages", key, n, len(messages))
		}
		if n := r.d.drops.load(DropBadMAC1) - before; n != 101*receiveSlots {
			t.Errorf("key %d: %d dropped for their mac1", key, n)
		}
	}
}

// With workers, only handing over allocates: the goroutine of a sender or
// receiver that begins its term, at most one for each batch.
func TestAllocationsWithWorkers(t *testing.T) {
	r := newRig(t, 5, Options{Workers: 2, AlwaysParallel: true})
	for r.d.icmp.allow(r.d.clock.Now()) {
	}
	out, in := r.outboundWork(), r.inboundWork()
	perBatch := testing.AllocsPerRun(100, func() { r.runOutbound(out); r.d.runners.Wait() }) / 10 // at least 5 peers' batches of 128 KiB
	if perBatch > 6 {
		t.Errorf("%v allocations for an outbound batch", perBatch)
	}
	perBatch = testing.AllocsPerRun(100, func() { r.runInbound(in); r.d.runners.Wait() }) / 5
	if perBatch > 6 {
		t.Errorf("%v allocations for an inbound group", perBatch)
	}
}

// BenchmarkOutbound is a drain of 64 packets, from the TUN's memory to sealed
// runs handed to the network.
func BenchmarkOutbound(b *testing.B) {
	for _, size := range []int{1420, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newRig(b, 1, Options{Workers: -1})
			packets := make([]tun.Packet, 64)
			for i := range packets {
				packets[i].SetBytes(tuntest.UDP(netip.AddrPortFrom(inner, 1), r.peers[0].inner4, make([]byte, size-28)))
			}
			perPacket(b, len(packets), size, func() { r.runOutbound(packets) })
		})
	}
	b.Run("super", func(b *testing.B) { // 46 segments in one read
		r := newRig(b, 1, Options{Workers: -1})
		packets := make([]tun.Packet, 1)
		packets[0].SetVirtio(tuntest.Super(tuntest.TCP(netip.AddrPortFrom(inner, 1), r.peers[0].inner4, tuntest.TCPHeader{}, make([]byte, 46*1380)), 1380, 0))
		perPacket(b, 46, 1420, func() { r.runOutbound(packets) })
	})
}

// BenchmarkInbound is a receive of datagrams in runs of up to 44, as GRO makes
// them, to packets handed to the TUN. It includes a copy of each into place.
func BenchmarkInbound(b *testing.B) {
	for _, size := range []int{1420, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newRig(b, 1, Options{Workers: -1})
			rp := r.peers[0]
			packet := tuntest.UDP(rp.inner4, netip.AddrPortFrom(inner, 1), make([]byte, size-28))
			messages := make([]conn.Message, 4)
			for i := range messages {
				m := &messages[i]
				m.Remote = rp.outer
				for range 44 {
					m.Data = rp.message(m.Data, packet)
				}
				m.Segment = len(m.Data) / 44
			}
			perPacket(b, 4*44, size, func() { r.runInbound(messages) })
		})
	}
}

// perPacket runs f, which handles n packets of size bytes, and reports what one costs.
func perPacket(b *testing.B, n, size int, f func()) {
	b.SetBytes(int64(n * size))
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
}
