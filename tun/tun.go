// Package tun is the TUN edge of a device: it reads IP packets, also those
// that the kernel left unsegmented, and writes them, merging runs on the way.
package tun

// Event is a change of the interface.
type Event struct {
	Kind EventKind
	MTU  int // for MTUChanged
}

// EventKind tells what changed.
type EventKind int

const (
	Up EventKind = iota + 1
	Down
	MTUChanged
	Deleted // the interface is gone; nothing follows
)

// Device is a TUN interface. Safe for concurrent use except where said.
type Device interface {
	// Name is the current name of the interface.
	Name() string
	// MTU is the current MTU.
	MTU() int
	// Readers has one element per queue; each is used by one goroutine.
	Readers() []Reader

	// Write hands IP packets to the system, in order. Packet i is
	// bufs[i][offset:], and the offset bytes before it (at least Headroom) may
	// be overwritten. Packets may be merged (TCP and UDP segmentation
	// offload); their bytes may be changed. It returns how many packets the
	// system took; an error names the first failure and does not keep the
	// others from being written. Any goroutine may call it; nothing is kept.
	Write(bufs [][]byte, offset int) (int, error)

	// Events tells of changes. The state at the start is told first (Up or
	// Down). It is closed by Close.
	Events() <-chan Event

	// Close removes the interface, if this process made it, and ends every
	// Read with os.ErrClosed. It may be called more than once.
	Close() error
}

// Sharded is a Device with several queues.
type Sharded interface {
	Device
	// WriteFrom is Write through a file of the shard's own (any number:
	// counted round), so that goroutines with one each share none. Packets
	// written one after the other through different ones stay in order.
	WriteFrom(shard int, bufs [][]byte, offset int) (int, error)
}

// Headroom is the least offset for Write: space for a virtio-net header.
const Headroom = 16

// A Reader is one queue of a TUN interface, used by one goroutine.
type Reader interface {
	// Read blocks until a packet is there and makes p that packet. p's
	// memory is valid until the next Read or TryRead. An error is final;
	// os.ErrClosed after Close. A malformed packet is skipped and counted.
	Read(p *Packet) error
	// TryRead is Read that returns false instead of blocking.
	TryRead(p *Packet) (bool, error)
}
