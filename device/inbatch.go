package device

import (
	"encoding/binary"
	"sync/atomic"

	"culvert/conn"
	"culvert/internal/clock"
	"culvert/noise"
)

// receiveSlots is the number of datagrams, or runs merged by GRO, of one
// receive.
const receiveSlots = 32

// An inBatch is the memory of one receive and the groups cut out of it. It goes
// back to its pool when the last group is done.
type inBatch struct {
	conn   *conn.Batch
	shard  int        // of the TUN it is written through
	groups []*inGroup // groups[:used] are in use
	used   int
	left   atomic.Int32 // groups not done, and the reader while it fills
}

func newInBatch() *inBatch { return &inBatch{conn: conn.NewBatch(receiveSlots)} }

// inPacket is one transport message within a receive batch.
type inPacket struct {
	buf []byte        // the whole message; opened in place
	msg *conn.Message // what it came in with
	bad Reason        // why it is dropped, if it is
}

// An inGroup is transport messages of one keypair in the order they came. It
// has exactly one owner at any time: reader, worker, receiver.
type inGroup struct {
	batch   *inBatch
	key     *keypair // referenced until the group is done
	now     clock.Time
	packets []inPacket
	bytes   int
	writes  [][]byte // for the TUN; kept to be used again

	opened chan struct{} // capacity 1: the worker gives the group back through it
	handed bool
}

// maxGroup bounds the bytes of one group, so that a flood of one peer is many
// jobs.
const maxGroup = 1 << 16

// group gives the group of k that still has room, or makes one; nil if k is
// just being retired.
func (b *inBatch) group(k *keypair, now clock.Time) *inGroup {
	for i := b.used - 1; i >= 0; i-- {
		if g := b.groups[i]; g.key == k {
			if g.bytes < maxGroup {
				return g
			}
			break
		}
	}
	if !k.acquire() {
		return nil
	}
	if b.used == len(b.groups) {
		b.groups = append(b.groups, &inGroup{batch: b, opened: make(chan struct{}, 1)})
	}
	g := b.groups[b.used]
	b.used++
	g.key, g.now, g.bytes, g.packets = k, now, 0, g.packets[:0]
	return g
}

// open authenticates and decrypts every packet in place.
func (g *inGroup) open() {
	for i := range g.packets {
		pk := &g.packets[i]
		counter := binary.LittleEndian.Uint64(pk.buf[8:])
		if !g.key.keys.Recv.Open(pk.buf[noise.TransportHeaderSize:], counter) {
			pk.bad = DropBadTag
		}
	}
}

// plaintext is what an opened packet holds.
func (pk *inPacket) plaintext() []byte {
	return pk.buf[noise.TransportHeaderSize : len(pk.buf)-noise.TagSize]
}

// counter is the message's counter.
func (pk *inPacket) counter() uint64 { return binary.LittleEndian.Uint64(pk.buf[8:]) }
