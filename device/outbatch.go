package device

import (
	"encoding/binary"
	"unsafe"

	"culvert/conn"
	"culvert/internal/aead"
	"culvert/internal/clock"
	"culvert/internal/pages"
	"culvert/noise"
)

// Sizes of an outbound arena.
const (
	// arenaSize holds a TUN super-packet of 64 KiB cut into segments, with what
	// WireGuard adds to each.
	arenaSize = 1 << 17
	// maxBatchPackets bounds the delay that small packets gain by batching.
	maxBatchPackets = 256
	overhead        = noise.TransportHeaderSize + noise.TagSize
)

// outBatchSize is what a batch takes at most: its arena, and what it says about
// each packet of it, which in the worst case is a run of its own.
const outBatchSize = arenaSize + maxBatchPackets*(int(unsafe.Sizeof(outPacket{}))+int(unsafe.Sizeof(conn.Run{})))

// Limits of one run, so of one UDP GSO message: 64 segments is what every
// kernel takes, and an IP packet has 65,535 bytes, headers included.
const (
	maxRunSegments = 64
	maxRunBytes    = 65535 - 40 - 8
)

// outPacket is one packet laid into an arena in wire layout: 16 bytes of
// header, the padded payload, 16 bytes for the tag.
type outPacket struct {
	off  int32
	size int32 // on the wire
	tos  byte
}

// cryptoBatch is how many messages are sealed, or opened, at once.
const cryptoBatch = 32

// An outBatch is packets of one peer, sealed with consecutive counters of one
// key and laid next to each other in one arena, which is also the UDP GSO
// buffer. It has exactly one owner at any time: reader, worker, sender.
type outBatch struct {
	peer    *peer
	key     *keypair // referenced until the batch is done
	counter uint64   // of the first packet; set when reserved
	now     clock.Time
	data    bool // holds more than keepalives
	shard   int  // of the sockets it is sent through

	mem     []byte
	n       int // bytes of mem in use
	packets []outPacket
	runs    []conn.Run

	sealed chan struct{} // capacity 1: the worker gives the batch back through it
	handed bool          // to a worker: the sender waits on sealed
	spare  bool          // a reader's own: it is handed to nobody, and stays with the reader
}

// newOutBatch makes one; nil if the system has no memory.
func newOutBatch() *outBatch {
	mem := pages.Get(arenaSize)
	if mem == nil {
		return nil
	}
	return &outBatch{
		mem:     mem,
		packets: make([]outPacket, 0, maxBatchPackets),
		runs:    make([]conn.Run, 0, 8),
		sealed:  make(chan struct{}, 1),
	}
}

// begin makes b, which is empty, one for packets to p; a reference to k goes with it.
func (b *outBatch) begin(p *peer, k *keypair, now clock.Time) {
	b.peer, b.key, b.now = p, k, now
}

func (b *outBatch) free() {
	pages.Free(b.mem)
	b.mem = nil
}

// paddedSize is the size of a payload of n bytes after padding: a multiple of
// 16, but never past the MTU (kernel: drivers/net/wireguard/send.c,
// calculate_skb_padding; a packet beyond the MTU, which GSO can make, is
// padded as its last part would be).
func paddedSize(n, mtu int) int {
	last := n
	if mtu > 0 && last > mtu {
		last %= mtu
	}
	padded := (last + 15) &^ 15
	if mtu > 0 {
		padded = min(padded, mtu)
	}
	return n + padded - last
}

// room reports whether a packet of n payload bytes still fits.
func (b *outBatch) room(n int) bool {
	return len(b.packets) < maxBatchPackets && b.n+n+overhead+15 <= len(b.mem)
}

// add makes room for a packet of n bytes padded to padded, and gives the n
// bytes to be filled in. The padding is zeroed.
func (b *outBatch) add(n, padded int, tos byte) []byte {
	start := b.n + noise.TransportHeaderSize
	clear(b.mem[start+n : start+padded])
	b.packets = append(b.packets, outPacket{off: int32(b.n), size: int32(padded + overhead), tos: tos})
	b.n += padded + overhead
	return b.mem[start : start+n]
}

// seal writes the headers and encrypts in place (paper, section 5.4.6).
func (b *outBatch) seal() {
	counter := b.counter
	var together [cryptoBatch]aead.Message
	for rest := b.packets; len(rest) > 0; {
		n := min(len(rest), cryptoBatch)
		for i, pk := range rest[:n] {
			m := b.mem[pk.off : pk.off+pk.size]
			binary.LittleEndian.PutUint32(m, uint32(noise.TypeTransport))
			binary.LittleEndian.PutUint32(m[4:], b.key.keys.RemoteIndex)
			binary.LittleEndian.PutUint64(m[8:], counter)
			together[i] = aead.Message{Buf: m[noise.TransportHeaderSize:], Counter: counter}
			counter++
		}
		b.key.keys.Send.SealBatch(together[:n])
		rest = rest[n:]
	}
}

// cut makes runs of the packets: a run ends where the size changes (but for a
// shorter last one) or the traffic class does, and at the limits of GSO.
func (b *outBatch) cut(to *conn.Endpoint) []conn.Run {
	b.runs = b.runs[:0]
	for i := 0; i < len(b.packets); {
		first := b.packets[i]
		end, n := first.off+first.size, 1
		for i++; i < len(b.packets); i++ {
			pk := b.packets[i]
			if pk.size > first.size || pk.tos != first.tos || n == maxRunSegments || pk.off+pk.size-first.off > maxRunBytes {
				break
			}
			end, n = pk.off+pk.size, n+1
			if pk.size < first.size {
				i++
				break
			}
		}
		b.runs = append(b.runs, conn.Run{Data: b.mem[first.off:end], Segment: int(first.size), To: to, TOS: first.tos})
	}
	return b.runs
}

// packetsIn is the number of datagrams of a run.
func packetsIn(r *conn.Run) int {
	if len(r.Data) <= r.Segment {
		return 1
	}
	return (len(r.Data) + r.Segment - 1) / r.Segment
}
