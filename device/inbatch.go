package device

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"culvert/conn"
	"culvert/internal/aead"
	"culvert/internal/clock"
	"culvert/noise"
)

// receiveSlots is the number of datagrams, or runs merged by GRO, of one
// receive. Any of them may have 64 KiB, so a batch takes 1 MiB.
const receiveSlots = 16

const (
	// maxMerged is how many datagrams the kernel merges into one run at most
	// (UDP_GRO_CNT_MAX). Were it more, room would be made for them.
	maxMerged = 64
	// keptGroups is how many groups a batch keeps to be used again: runs are of
	// one sender, so usually of one key.
	keptGroups = 4 * receiveSlots

	// inBatchSize is what a batch takes at most; a group is counted with its
	// channel.
	inBatchSize = receiveSlots*(conn.SlotSize+maxMerged*int(unsafe.Sizeof(inPacket{})+unsafe.Sizeof([]byte{}))) + keptGroups*256
)

// An inBatch is the memory of one receive and the groups cut out of it. It goes
// back to its pool when the last group is done.
type inBatch struct {
	conn    *conn.Batch
	shard   int        // of the TUN it is written through
	packets []inPacket // of all groups, in the order they came
	writes  [][]byte   // for the TUN: each group has its part
	groups  []*inGroup // groups[:used] are in use
	used    int
	left    atomic.Int32 // groups not done, and the reader while it fills
}

// newInBatch makes one; nil if the system has no memory.
func newInBatch(slots int) *inBatch { return newInBatchOf(conn.NewBatch(slots), slots*maxMerged) }

// newInBatchOf makes one that expects so many packets.
func newInBatchOf(b *conn.Batch, packets int) *inBatch {
	if b == nil {
		return nil
	}
	return &inBatch{conn: b, packets: make([]inPacket, 0, packets), writes: make([][]byte, packets)}
}

func (b *inBatch) free() { b.conn.Free() }

// reset empties b for the next receive.
func (b *inBatch) reset() {
	if len(b.groups) > keptGroups {
		clear(b.groups[keptGroups:])
		b.groups = b.groups[:keptGroups]
	}
	b.packets, b.used = b.packets[:0], 0
}

// share gives every group its part of writes; no packet is added any more.
func (b *inBatch) share() {
	if len(b.writes) < len(b.packets) {
		b.writes = make([][]byte, cap(b.packets))
	}
	rest := b.writes
	for _, g := range b.groups[:b.used] {
		g.writes, rest = rest[:0:g.count], rest[g.count:]
	}
}

// inPacket is one transport message within a receive batch.
type inPacket struct {
	buf  []byte        // the whole message; opened in place
	msg  *conn.Message // what it came in with
	next int32         // the group's next one in the batch; -1: none
	bad  Reason        // why it is dropped, if it is
}

// An inGroup is transport messages of one keypair in the order they came. It
// has exactly one owner at any time: reader, worker, receiver.
type inGroup struct {
	batch       *inBatch
	key         *keypair // referenced until the group is done
	now         clock.Time
	first, last int32 // of the group's packets in the batch; -1: none
	count       int
	bytes       int
	writes      [][]byte // for the TUN

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
	g.key, g.now, g.first, g.last, g.count, g.bytes = k, now, -1, -1, 0, 0
	return g
}

// add appends a message to the group.
func (g *inGroup) add(buf []byte, msg *conn.Message) {
	b, at := g.batch, int32(len(g.batch.packets))
	b.packets = append(b.packets, inPacket{buf: buf, msg: msg, next: -1})
	if g.first < 0 {
		g.first = at
	} else {
		b.packets[g.last].next = at
	}
	g.last = at
	g.count++
	g.bytes += len(buf)
}

// open authenticates and decrypts every packet in place.
func (g *inGroup) open() {
	var together [cryptoBatch]aead.Message
	for pk := g.head(); pk != nil; {
		first, n := pk, 0
		for ; pk != nil && n < cryptoBatch; pk = g.after(pk) {
			together[n] = aead.Message{Buf: pk.buf[noise.TransportHeaderSize:], Counter: binary.LittleEndian.Uint64(pk.buf[8:])}
			n++
		}
		g.key.keys.Recv.OpenBatch(together[:n])
		for i, p := 0, first; i < n; i, p = i+1, g.after(p) {
			if together[i].Bad {
				p.bad = DropBadTag
			}
		}
	}
}

// head is the group's first packet.
func (g *inGroup) head() *inPacket { return g.at(g.first) }

// after is the packet after pk; nil if that is the last.
func (g *inGroup) after(pk *inPacket) *inPacket { return g.at(pk.next) }

func (g *inGroup) at(i int32) *inPacket {
	if i < 0 {
		return nil
	}
	return &g.batch.packets[i]
}

// plaintext is what an opened packet holds.
func (pk *inPacket) plaintext() []byte {
	return pk.buf[noise.TransportHeaderSize : len(pk.buf)-noise.TagSize]
}

// counter is the message's counter.
func (pk *inPacket) counter() uint64 { return binary.LittleEndian.Uint64(pk.buf[8:]) }
