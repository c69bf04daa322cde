package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// adaptRoom is the memory per packet of a batch read from a foreign device.
// Its MTU is not a bound: it may deliver what was queued before it shrank.
const adaptRoom = 1 << 16

// adaptOffset leaves room for the headers some systems want before a packet.
const adaptOffset = Headroom

// adapter makes a Device of a foreign one.
type adapter struct {
	foreign wgtun.Device
	mtu     atomic.Int64
	reader  adaptedReader

	events    chan Event // closed by translate
	closing   chan struct{}
	closed    atomic.Bool
	closeOnce sync.Once
	closeErr  error
	done      sync.WaitGroup
}

// Adapt makes a Device of any device of golang.zx2c4.com/wireguard/tun: those
// of other systems than Linux, network stacks in the process, and what users
// of the library wrote themselves. d belongs to the result from then on.
// Packets are neither split nor merged here; d may do so.
func Adapt(d wgtun.Device) Device {
	a := &adapter{
		foreign: d,
		events:  make(chan Event, 4),
		closing: make(chan struct{}),
	}
	if mtu, err := d.MTU(); err == nil {
		a.mtu.Store(int64(mtu))
	}
	a.reader.init(a, max(1, d.BatchSize()))
	a.done.Add(1)
	go func() { // ends with the foreign device's events, which its Close closes
		defer a.done.Done()
		a.translate()
	}()
	return a
}

// Name implements Device.
func (a *adapter) Name() string {
	name, err := a.foreign.Name()
	if err != nil {
		return "tun"
	}
	return name
}

// MTU implements Device.
func (a *adapter) MTU() int { return int(a.mtu.Load()) }

// Readers implements Device.
func (a *adapter) Readers() []Reader { return []Reader{&a.reader} }

// Events implements Device.
func (a *adapter) Events() <-chan Event { return a.events }

// Write implements Device. The foreign device is given the packets in batches
// of the size it asks for.
func (a *adapter) Write(bufs [][]byte, offset int) (int, error) {
	if offset < Headroom {
		return 0, fmt.Errorf("tun: BUG: write with %d bytes of headroom", offset)
	}
	taken, first := 0, error(nil)
	for len(bufs) > 0 {
		n := min(len(bufs), a.reader.batch)
		if _, err := a.foreign.Write(bufs[:n], offset); err != nil {
			// What the number returned counts is not the same everywhere
			// (bytes, packets), so a batch with an error counts as lost.
			if a.closed.Load() {
				return taken, os.ErrClosed
			}
			first = errors.Join(first, err)
		} else {
			taken += n
		}
		bufs = bufs[n:]
	}
	return taken, first
}

// Close implements Device.
func (a *adapter) Close() error {
	a.closeOnce.Do(func() {
		a.closed.Store(true)
		close(a.closing)
		a.closeErr = a.foreign.Close()
		a.done.Wait()
	})
	return a.closeErr
}

// translate passes the foreign events on. Those are combined bits and may be
// repeated; ours are changes. Of the start nothing is known: it counts as down.
func (a *adapter) translate() {
	defer close(a.events)
	up, told := false, false
	for e := range a.foreign.Events() {
		if e&wgtun.EventMTUUpdate != 0 {
			if mtu, err := a.foreign.MTU(); err == nil && int64(mtu) != a.mtu.Load() {
				a.mtu.Store(int64(mtu))
				a.tell(Event{Kind: MTUChanged, MTU: mtu})
			}
		}
		if now := e&wgtun.EventUp != 0; e&(wgtun.EventUp|wgtun.EventDown) != 0 && (now != up || !told) {
			up, told = now, true
			kind := Down
			if now {
				kind = Up
			}
			a.tell(Event{Kind: kind})
		}
	}
	if !a.closed.Load() {
		// It ended by itself.
		a.tell(Event{Kind: Deleted})
		<-a.closing
	}
}

func (a *adapter) tell(e Event) {
	select {
	case a.events <- e:
	case <-a.closing:
	}
}

// adaptedReader hands a batch of packets out one by one.
type adaptedReader struct {
	a     *adapter
	batch int
	bufs  [][]byte
	sizes []int
	next  int // packets [next, n) are still to be handed out
	n     int
}

func (r *adaptedReader) init(a *adapter, batch int) {
	r.a, r.batch = a, batch
	r.sizes = make([]int, batch)
	r.bufs = make([][]byte, batch)
	memory := make([]byte, batch*adaptRoom) // pages never used are never touched
	for i := range r.bufs {
		r.bufs[i] = memory[i*adaptRoom : (i+1)*adaptRoom : (i+1)*adaptRoom]
	}
}

// Read implements Reader.
func (r *adaptedReader) Read(p *Packet) error {
	for {
		if r.take(p) {
			return nil
		}
		n, err := r.a.foreign.Read(r.bufs, r.sizes, adaptOffset)
		r.next, r.n = 0, n
		// Too many segments: the rest of a super-packet was dropped.
		if err != nil && !errors.Is(err, wgtun.ErrTooManySegments) {
			r.n = 0
			if r.a.closed.Load() {
				return os.ErrClosed
			}
			return fmt.Errorf("tun: read %s: %w", r.a.Name(), err)
		}
	}
}

// TryRead implements Reader: it gives what the last batch still holds.
func (r *adaptedReader) TryRead(p *Packet) (bool, error) {
	if r.a.closed.Load() {
		return false, os.ErrClosed
	}
	return r.take(p), nil
}

// take hands out the next packet of the batch that is one.
func (r *adaptedReader) take(p *Packet) bool {
	for r.next < r.n {
		i := r.next
		r.next++
		data := r.bufs[i][adaptOffset:]
		if size := r.sizes[i]; size <= len(data) && plausibleIP(data[:size]) {
			p.SetBytes(data[:size])
			return true
		}
	}
	return false
}
