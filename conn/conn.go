// Package conn is the UDP edge of a device: it receives and sends whole
// batches of datagrams and knows nothing of WireGuard.
package conn

import (
	"net/netip"
	"sync/atomic"

	"culvert/internal/pages"
)

// A Network makes sockets. There is one per process and kind (Linux batch I/O,
// portable, in-memory).
type Network interface {
	// Listen binds one UDP port in every address family the machine has; one
	// family alone is enough. Port 0 picks one that is free in both (up to 100
	// tries). It shares nothing with sockets made before, so a device can
	// open the new ones before it closes the old. mark is the firewall mark
	// (SO_MARK), 0 for none.
	Listen(port uint16, mark uint32) (Sockets, error)
}

// Sockets are the UDP sockets of a device on one port. Safe for concurrent use.
type Sockets interface {
	Port() uint16

	// Receivers has one element per socket; each is read by one goroutine. Those of further
	// lanes ([Laned]) are the last.
	Receivers() []Receiver

	// Send sends every run and tries each one whatever became of the others.
	// It blocks only while the kernel's send buffer is full: on Linux for 100 ms at most. It fills in Err
	// and SourceLost of each run. It does not keep runs or their data.
	Send(runs []Run)

	// SetMark changes the firewall mark and makes every sticky source be
	// looked at again. Setting the mark that is there needs no privilege.
	SetMark(mark uint32) error

	// Close closes the sockets; every Receive and Send then ends with
	// net.ErrClosed. It may be called more than once.
	Close() error
}

// Sharded are Sockets of which several share the port. Receivers then has the
// same number of elements for each address family, one family after the other.
type Sharded interface {
	Sockets
	// SendFrom is Send through the sockets of one shard (any number: counted
	// round), so that goroutines with one each share none. What shard sends a
	// run makes no difference to the other side.
	SendFrom(shard int, runs []Run)
}

// A Splitter is a Network whose sockets can part what they receive.
type Splitter interface {
	Network
	// Split is a network like this one whose sockets give what is not the main traffic to receivers of
	// its own ([LaneAside]), if the system can do that: a flood of the one then does not fill the queue of the
	// other, nor keep its reader from it. Any receiver may get anything at times.
	Split(main Main) Network
}

// Main tells the main traffic from all else: datagrams of Least bytes or more that begin with Header, to
// which a label of four bytes belongs.
type Main struct {
	Header [4]byte
	Least  int
}

// Label is the four bytes behind the header of a datagram of the main traffic.
type Label [4]byte

// MaxLabels bounds what Prefer is told: each costs an instruction or two for each datagram.
const MaxLabels = 256

// Preferring are Sockets that can part the main traffic once more.
type Preferring interface {
	Sockets
	// Prefer leaves [LaneMain] what has one of those labels, and the rest of the main traffic comes out of receivers
	// of its own ([LaneRest]); without labels all is in one again, as at first. What is queued stays where it is, so
	// datagrams may overtake each other. After an error a family may be as it was, and it may be tried again;
	// errors.ErrUnsupported: there are no such receivers. Labels beyond MaxLabels are left out.
	Prefer(labels []Label) error
}

// Lane is which part of what comes in a receiver has.
type Lane uint8

// The lanes; without a Split there is one.
const (
	LaneMain  Lane = iota // the main traffic, or all
	LaneRest              // what is not preferred of it
	LaneAside             // all else
)

// Laned is a Receiver that tells its lane.
type Laned interface {
	Receiver
	Lane() Lane
}

// Partial are Sockets that may lack an address family which the system did not
// have when they were opened.
type Partial interface {
	Sockets
	// Lacks reports whether a family is missing that the system has by now. It
	// tries by opening a socket, so it is not for the data path.
	Lacks() bool
}

// A Receiver is one socket being read. Only one goroutine may use it.
type Receiver interface {
	// Receive blocks until at least one datagram is there and fills
	// b.Messages, and b.Cut: that can be all there is. Errors of single datagrams (ICMP errors, truncation) are
	// dealt with inside, and so is a failure that passes. Any error returned is
	// final: net.ErrClosed after Close, else the socket broke, and others have to
	// be opened.
	Receive(b *Batch) error
}

// A Message is one datagram received, or a run of datagrams that the kernel
// merged (UDP GRO): equal in source, destination, and traffic class.
type Message struct {
	// Data aliases the batch's memory: it may be changed in place and is
	// valid until the batch is given to Receive again.
	Data []byte
	// Segment is the size of every datagram in Data but the last, which may be
	// shorter. It equals len(Data) for a single datagram. Never 0 unless Data
	// is empty.
	Segment int
	Remote  netip.AddrPort // sender; IPv4 never as mapped IPv6; zone set for link-local IPv6
	Local   netip.Addr     // address it was sent to; invalid where the platform does not tell
	IfIndex uint32         // interface it came in on; 0 where unknown
	TOS     byte           // outer IPv4 TOS or IPv6 traffic class
}

// A Batch is the memory of one Receive. It is not safe for concurrent use.
type Batch struct {
	Messages []Message // filled by Receive
	Cut      int       // messages of that Receive that were thrown away, as they did not fit their slots
	Waited   bool      // Receive found nothing and waited; false also where the platform does not tell
	memory   []byte    // what the slots are cut from
	slots    [][]byte
	state    any // the receiver's own (message headers, control buffers); made on first use
}

// MessageSize is the memory per slot of a Batch: the largest UDP payload, so
// also the largest run that GRO can deliver.
const MessageSize = 1 << 16

// SlotSize is how many bytes a batch takes per slot at most: with the message,
// and what the kernel fills in of headers, addresses and control data.
const SlotSize = MessageSize + 1<<10

// NewBatch makes a batch with room for n messages of MessageSize each; nil if
// the system has no memory. Pages that no datagram reaches are never touched.
// Free gives the memory back.
func NewBatch(n int) *Batch { return NewBatchOf(n, MessageSize) }

// NewBatchOf is NewBatch with room for messages of so many bytes; larger ones are truncated, so
// dropped. It is for [LaneAside]: what is merged to more than that is a flood.
func NewBatchOf(n, size int) *Batch {
	mem := pages.Get(n * size)
	if mem == nil {
		return nil
	}
	b := &Batch{memory: mem, slots: make([][]byte, n), Messages: make([]Message, 0, n)}
	for i := range b.slots {
		b.slots[i] = mem[i*size : (i+1)*size : (i+1)*size]
	}
	return b
}

// Free ends b and what its messages refer to. It is called once, and not while
// b is with a Receiver. A batch without it stays for as long as the process.
func (b *Batch) Free() {
	if st, ok := b.state.(interface{ forget() }); ok {
		st.forget()
	}
	pages.Free(b.memory)
	*b = Batch{}
}

// Slots are the n buffers of a batch, for implementations of Receiver.
func (b *Batch) Slots() [][]byte { return b.slots }

// An Endpoint is where a peer is and how to reach it: its address, and the
// local address (sticky source) its last datagram was sent to. It is immutable
// and shared between goroutines; a change makes a new one.
type Endpoint struct {
	Remote  netip.AddrPort
	Local   netip.Addr // invalid: routing chooses
	IfIndex uint32     // interface the sticky source was learned on
	// gen is the generation of the routing table under which Local was last
	// found good.
	gen atomic.Uint32
}

// Endpoint makes the endpoint that answers m.
func (m *Message) Endpoint() *Endpoint {
	return &Endpoint{Remote: m.Remote, Local: m.Local, IfIndex: m.IfIndex}
}

// From reports whether e (may be nil) is what m.Endpoint would make, so that
// nothing need change.
func (m *Message) From(e *Endpoint) bool {
	return e != nil && m.Remote == e.Remote && m.Local == e.Local && m.IfIndex == e.IfIndex
}

// WithoutSource returns e without its sticky source.
func (e *Endpoint) WithoutSource() *Endpoint { return &Endpoint{Remote: e.Remote} }

// A Run is datagrams to one endpoint, next to each other in memory.
type Run struct {
	Data    []byte
	Segment int // size of every datagram but the last; len(Data) if there is one
	To      *Endpoint
	TOS     byte // outer IPv4 TOS or IPv6 traffic class of every datagram

	// Err is set by Send: nil if every datagram of the run was handed to the
	// kernel, also when only on a second try.
	Err error
	// SourceLost is set by Send when To.Local was no longer usable and the run
	// went (or was tried) without it: the owner of To should forget the source.
	SourceLost bool
}
