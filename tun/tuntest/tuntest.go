// Package tuntest has a TUN interface in memory, for tests. Its blocking calls
// block on channels only, so they are durable inside a testing/synctest bubble.
package tuntest

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"culvert/tun"
)

// Queue is how many packets either direction holds.
const Queue = 4096

// TUN is a tun.Device whose other side, the system's, is played by the test:
// Send and Recv, Up, Down, SetMTU and Delete. It starts down. Safe for
// concurrent use.
type TUN struct {
	name  string
	mtu   atomic.Int64
	up    atomic.Bool
	lost  atomic.Uint64 // of what was sent
	full  atomic.Uint64 // of what was written
	fail  atomic.Pointer[func(packet []byte) error]
	out   chan []byte // device to system
	ended chan struct{}

	mu      sync.Mutex // makes changes of state and their events one
	events  chan tun.Event
	gone    chan struct{} // closed by Delete
	deleted bool
	once    sync.Once
	queues  []*reader
	writes  []atomic.Uint64 // packets written, by shard
}

// message is a packet, or a super-packet with its virtio-net header.
type message struct {
	data   []byte
	virtio bool
}

var serial atomic.Int64

// New makes an interface that is down.
func New(mtu int) *TUN {
	t := &TUN{
		name:   fmt.Sprintf("tuntest%d", serial.Add(1)),
		out:    make(chan []byte, Queue),
		ended:  make(chan struct{}),
		gone:   make(chan struct{}),
		events: make(chan tun.Event, 64),
	}
	t.mtu.Store(int64(mtu))
	t.events <- tun.Event{Kind: tun.Down}
	t.SetQueues(1)
	return t
}

// SetQueues gives the interface n queues, before it is used.
func (t *TUN) SetQueues(n int) {
	t.queues, t.writes = nil, make([]atomic.Uint64, n)
	for range n {
		t.queues = append(t.queues, &reader{t, make(chan message, Queue)})
	}
}

// SetDepth has the system keep n packets that the device wrote and nobody received;
// more are lost. Before it is used.
func (t *TUN) SetDepth(n int) { t.out = make(chan []byte, n) }

// NewUp makes an interface that is up.
func NewUp(mtu int) *TUN {
	t := New(mtu)
	<-t.events
	t.up.Store(true)
	t.events <- tun.Event{Kind: tun.Up}
	return t
}

// Send gives the device a copy of packet to read. It blocks while Queue
// packets wait. False means that the interface is down or closed and the
// packet was lost.
func (t *TUN) Send(packet []byte) bool { return t.SendQueue(0, packet) }

// SendQueue is Send into one of several queues.
func (t *TUN) SendQueue(queue int, packet []byte) bool {
	return t.send(queue, message{data: packet})
}

// SendVirtio is Send for what a TUN with IFF_VNET_HDR delivers: a virtio-net
// header of tun.VirtioLen bytes and a (super-)packet; see Super.
func (t *TUN) SendVirtio(b []byte) bool { return t.send(0, message{data: b, virtio: true}) }

func (t *TUN) send(queue int, m message) bool {
	if !t.up.Load() || t.over() {
		t.lost.Add(1)
		return false
	}
	m.data = append([]byte(nil), m.data...)
	select {
	case t.queues[queue].in <- m:
		return true
	case <-t.ended:
	case <-t.gone:
	}
	t.lost.Add(1)
	return false
}

// Recv waits for the next packet the device wrote; os.ErrClosed once the
// device is closed or deleted and all it wrote before was received.
func (t *TUN) Recv() ([]byte, error) {
	if p, ok := t.TryRecv(); ok {
		return p, nil
	}
	select {
	case p := <-t.out:
		return p, nil
	case <-t.ended:
	case <-t.gone:
	}
	if p, ok := t.TryRecv(); ok {
		return p, nil
	}
	return nil, os.ErrClosed
}

// TryRecv is Recv that does not wait.
func (t *TUN) TryRecv() ([]byte, bool) {
	select {
	case p := <-t.out:
		return p, true
	default:
		return nil, false
	}
}

// Received is the channel behind Recv, for use in a select. It is never closed.
func (t *TUN) Received() <-chan []byte { return t.out }

// Lost counts packets that were lost because the interface was down or a queue
// full.
func (t *TUN) Lost() uint64 { return t.lost.Load() + t.full.Load() }

// Overrun counts those of them that the device wrote while nobody received.
func (t *TUN) Overrun() uint64 { return t.full.Load() }

// FailWrites makes every write of a packet fail for which fail returns an
// error. It may be called at any time; nil ends it.
func (t *TUN) FailWrites(fail func(packet []byte) error) {
	if fail == nil {
		t.fail.Store(nil)
		return
	}
	t.fail.Store(&fail)
}

// Up is `ip link set up`.
func (t *TUN) Up() { t.setUp(true, tun.Up) }

// Down is `ip link set down`: packets are lost in both directions, and writes
// fail with EIO.
func (t *TUN) Down() { t.setUp(false, tun.Down) }

func (t *TUN) setUp(up bool, kind tun.EventKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.up.Swap(up) != up {
		t.tell(tun.Event{Kind: kind})
	}
}

// SetMTU is `ip link set mtu`.
func (t *TUN) SetMTU(mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mtu.Swap(int64(mtu)) != int64(mtu) {
		t.tell(tun.Event{Kind: tun.MTUChanged, MTU: mtu})
	}
}

// Delete is `ip link delete`: reads end with tun.ErrDeleted.
func (t *TUN) Delete() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deleted {
		return
	}
	t.up.Store(false)
	close(t.gone)
	t.tell(tun.Event{Kind: tun.Deleted})
	t.deleted = true
}

// tell is called with mu held. Nothing follows the deletion.
func (t *TUN) tell(e tun.Event) {
	if t.deleted || t.closed() {
		return
	}
	select {
	case t.events <- e:
	case <-t.ended:
	}
}

func (t *TUN) closed() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// over reports whether the interface is closed or deleted.
func (t *TUN) over() bool {
	select {
	case <-t.gone:
		return true
	default:
		return t.closed()
	}
}

// Name implements tun.Device.
func (t *TUN) Name() string { return t.name }

// MTU implements tun.Device.
func (t *TUN) MTU() int { return int(t.mtu.Load()) }

// Readers implements tun.Device.
func (t *TUN) Readers() (rs []tun.Reader) {
	for _, q := range t.queues {
		rs = append(rs, q)
	}
	return rs
}

// Events implements tun.Device.
func (t *TUN) Events() <-chan tun.Event { return t.events }

// Write implements tun.Device. It never blocks: what does not fit in the queue
// is lost, and yet counts as taken, as with the real one.
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) { return t.WriteFrom(0, bufs, offset) }

// WriteFrom implements tun.Sharded. Written counts.
func (t *TUN) WriteFrom(shard int, bufs [][]byte, offset int) (int, error) {
	t.writes[shard%len(t.writes)].Add(uint64(len(bufs)))
	if offset < tun.Headroom {
		panic(fmt.Sprintf("tuntest: write with %d bytes of headroom", offset))
	}
	taken, first := 0, error(nil)
	for _, b := range bufs {
		clear(b[offset-tun.Headroom : offset]) // as Device.Write may
		err := t.write(b[offset:])
		if err == nil {
			taken++
		} else if first == nil {
			first = err
		}
	}
	return taken, first
}

// Written is how many packets one shard has written.
func (t *TUN) Written(shard int) uint64 { return t.writes[shard].Load() }

func (t *TUN) write(packet []byte) error {
	if t.over() {
		return os.ErrClosed
	}
	if !t.up.Load() {
		return syscall.EIO
	}
	if fail := t.fail.Load(); fail != nil {
		if err := (*fail)(packet); err != nil {
			return err
		}
	}
	select {
	case t.out <- append([]byte(nil), packet...):
	default:
		t.full.Add(1)
	}
	return nil
}

// Close implements tun.Device.
func (t *TUN) Close() error {
	t.once.Do(func() {
		close(t.ended) // lets go whoever holds mu
		t.mu.Lock()
		defer t.mu.Unlock()
		close(t.events)
	})
	return nil
}

// reader implements tun.Reader.
type reader struct {
	t  *TUN
	in chan message // system to device
}

// Read implements tun.Reader.
func (r *reader) Read(p *tun.Packet) error {
	for {
		if r.t.over() {
			return r.final()
		}
		select {
		case m := <-r.in:
			if m.take(p) {
				return nil
			}
		case <-r.t.ended:
		case <-r.t.gone:
		}
	}
}

// TryRead implements tun.Reader.
func (r *reader) TryRead(p *tun.Packet) (bool, error) {
	for {
		if r.t.over() {
			return false, r.final()
		}
		select {
		case m := <-r.in:
			if m.take(p) {
				return true, nil
			}
		default:
			return false, nil
		}
	}
}

func (r *reader) final() error {
	if r.t.closed() {
		return os.ErrClosed
	}
	return tun.ErrDeleted
}

// take makes p the packet; false for what a real reader skips.
func (m message) take(p *tun.Packet) bool {
	if m.virtio {
		return p.SetVirtio(m.data)
	}
	if len(m.data) < 20 || (m.data[0]>>4 != 4 && m.data[0]>>4 != 6) || (m.data[0]>>4 == 6 && len(m.data) < 40) {
		return false
	}
	p.SetBytes(m.data)
	return true
}
