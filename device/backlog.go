package device

import (
	"hash/maphash"

	"culvert/internal/pages"
	"culvert/tun"
)

// backlog is what a reader of the TUN has read ahead of what it can seal: packets
// as they came, in queues by flow, which are served in turn (deficit round robin
// with precedence for flows that had nothing waiting, RFC 8290 section 4, without
// its dropping). The queue of the interface itself is first come first served, so
// a reader that cannot keep up empties it into here: a flow of few packets then
// waits for one batch of the others and not for all that they have waiting.
//
// It is bounded in packets and, through its pool, in bytes; when it is full the
// rest waits in the interface, as without it. One owner: its reader.
type backlog struct {
	pool    *pool[readChunk] // nil: nothing is read ahead
	seed    maphash.Seed
	entries []waiting // a slab; made when first needed
	free    int32     // the first of the free ones
	n       int       // packets waiting
	flows   [flowQueues]flow
	fresh   flowList // flows that had nothing waiting when a packet came
	old     flowList
	chunk   *readChunk // being filled; nil: none
}

const (
	// maxBacklog is the packets a backlog holds.
	maxBacklog = 1024
	// flowQueues is the number of queues; flows that share one are served as one.
	flowQueues = 256
	// flowQuantum is the bytes a flow may send each turn.
	flowQuantum = 4096
	// readChunkSize is memory for two of the largest reads.
	readChunkSize = (2*tun.ReadSize + 4095) &^ 4095
	none          = -1
)

// waiting is a packet in the backlog.
type waiting struct {
	packet tun.Packet
	chunk  *readChunk
	next   int32 // of its flow, or of the free ones
}

// flow is one queue.
type flow struct {
	first, last int32 // packets; none
	next        int32 // flow of its list
	deficit     int32
	listed      bool
}

// flowList is flows that have packets, or had them until just now.
type flowList struct{ first, last int32 }

// readChunk is memory that packets are read into, one behind the other. It is
// used again when none of them is left.
type readChunk struct {
	mem  []byte
	n    int // bytes in use
	held int // packets not yet served
}

// newReadChunk makes one; nil if the system has no memory.
func newReadChunk() *readChunk {
	mem := pages.Get(readChunkSize)
	if mem == nil {
		return nil
	}
	return &readChunk{mem: mem}
}

func (c *readChunk) free() {
	pages.Free(c.mem)
	c.mem = nil
}

// begin makes the slab.
func (q *backlog) begin() {
	q.seed = maphash.MakeSeed()
	q.entries = make([]waiting, maxBacklog)
	for i := range q.entries {
		q.entries[i].next = int32(i) + 1
	}
	q.entries[maxBacklog-1].next = none
	for i := range q.flows {
		q.flows[i] = flow{first: none, last: none, next: none}
	}
	q.fresh, q.old = flowList{none, none}, flowList{none, none}
}

// room gives memory for one read, at least tun.ReadSize; nil if there is none.
func (q *backlog) room() []byte {
	if q.n == maxBacklog || q.pool == nil {
		return nil
	}
	if q.entries == nil {
		q.begin()
	}
	if c := q.chunk; c != nil {
		if c.held == 0 {
			c.n = 0
		}
		if c.n+tun.ReadSize <= len(c.mem) {
			return c.mem[c.n:]
		}
		if c.held == 0 {
			panic("BUG: a chunk has no room for one read")
		}
	}
	c := q.pool.get()
	if c == nil {
		return nil
	}
	q.chunk = c // the one before goes back with its last packet
	return c.mem
}

// push appends the packet that was just read, into what room gave or elsewhere.
func (q *backlog) push(p *tun.Packet) {
	c := q.chunk
	c.n += p.Own(c.mem[c.n:])
	c.held++
	i := q.free
	e := &q.entries[i]
	q.free = e.next
	e.packet, e.chunk, e.next = *p, c, none
	q.n++

	id := int32(flowHash(q.seed, p.Bytes()) % flowQueues)
	f := &q.flows[id]
	if f.first == none {
		f.first = i
	} else {
		q.entries[f.last].next = i
	}
	f.last = i
	if !f.listed {
		f.listed, f.deficit = true, flowQuantum
		q.fresh.append(q, id)
	}
}

// pop gives the packet whose turn it is; false if there is none. The caller
// gives its memory back by done before it takes the next.
func (q *backlog) pop(p *tun.Packet) (c *readChunk, ok bool) {
	for q.entries != nil {
		list := &q.fresh
		if list.first == none {
			if list = &q.old; list.first == none {
				return nil, false
			}
		}
		id := list.first
		f := &q.flows[id]
		switch {
		case f.deficit <= 0:
			f.deficit += flowQuantum
			list.shift(q)
			q.old.append(q, id)
		case f.first == none && list == &q.fresh && q.old.first != none:
			// The others first, so that a flow that comes back at once gains nothing.
			list.shift(q)
			q.old.append(q, id)
		case f.first == none:
			list.shift(q)
			f.listed = false
		default:
			i := f.first
			e := &q.entries[i]
			if f.first = e.next; f.first == none {
				f.last = none
			}
			*p, c = e.packet, e.chunk
			f.deficit -= int32(len(p.Bytes()))
			*e = waiting{next: q.free}
			q.free = i
			q.n--
			return c, true
		}
	}
	return nil, false
}

// done ends the use of a packet's memory.
func (q *backlog) done(c *readChunk) {
	if c.held--; c.held == 0 && c != q.chunk {
		c.n = 0
		q.pool.put(c)
	}
}

// rest gives the memory back that an empty backlog still has.
func (q *backlog) rest() {
	if c := q.chunk; c != nil && c.held == 0 {
		q.chunk, c.n = nil, 0
		q.pool.put(c)
	}
}

func (l *flowList) append(q *backlog, id int32) {
	q.flows[id].next = none
	if l.first == none {
		l.first = id
	} else {
		q.flows[l.last].next = id
	}
	l.last = id
}

func (l *flowList) shift(q *backlog) {
	if l.first = q.flows[l.first].next; l.first == none {
		l.last = none
	}
}

// flowHash is equal for packets of a flow: addresses, and the ports of TCP and
// UDP where every packet of the flow shows them. With IPv4 options or IPv6
// extension headers, and for fragments, the addresses alone have to do.
func flowHash(seed maphash.Seed, ip []byte) uint64 {
	if ip[0]>>4 == 4 {
		if (ip[9] == protoTCP || ip[9] == protoUDP) && ip[0] == 0x45 && ip[6]&0x3f == 0 && ip[7] == 0 && len(ip) >= 24 {
			return maphash.Bytes(seed, ip[12:24])
		}
		return maphash.Bytes(seed, ip[12:20])
	}
	if (ip[6] == protoTCP || ip[6] == protoUDP) && len(ip) >= 44 {
		return maphash.Bytes(seed, ip[8:44])
	}
	return maphash.Bytes(seed, ip[8:40])
}
