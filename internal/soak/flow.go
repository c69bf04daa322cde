//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"culvert/internal/nstest"
)

// flow is UDP packets one way through the tunnel. Each has the number of its phase
// and its own, and content that follows from it.
type flow struct {
	name      string
	out, in   *net.UDPConn
	phase     atomic.Uint32
	received  [2]counts // of the phases with even and odd numbers
	sent      atomic.Uint64
	refused   atomic.Uint64 // by the system: the link is down, or has no route
	stop      chan struct{}
	sending   sync.WaitGroup
	receiving sync.WaitGroup
	fill      []byte
}

type counts struct{ packets, damaged, twice atomic.Uint64 }

// tally is what became of the packets of a phase.
type tally struct {
	Flow     string `json:"flow"`
	Sent     uint64 `json:"sent"` // taken by the system
	Received uint64 `json:"received"`
	Damaged  uint64 `json:"damaged"` // arrived with another content
	Twice    uint64 `json:"twice"`   // arrived, and had before
	Refused  uint64 `json:"refused"`
}

// header is phase (4 bytes) and number (8); the largest packet fills the tunnel's MTU
// over IPv6.
const (
	header    = 12
	largest   = tunnelMTU - 48
	tick      = 10 * time.Millisecond
	dedupSize = 1 << 16 // numbers that are remembered
	buffer    = 4 << 20 // of the sockets
)

// newFlow opens the sockets, each in its namespace, and starts receiving.
func newFlow(name string, from, to *nstest.NS, at, dest string) (*flow, error) {
	f := &flow{name: name, fill: make([]byte, largest+256)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range f.fill {
		f.fill[i] = byte(r.Uint32())
	}
	err := to.Do(func() (err error) {
		f.in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(dest), 0)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.in.SetReadBuffer(buffer)
	err = from.Do(func() (err error) {
		f.out, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(at)}, f.in.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		f.in.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.receiving.Go(f.receive) // ends with close
	return f, nil
}

// close ends the flow.
func (f *flow) close() {
	f.end()
	f.out.Close()
	f.in.Close()
	f.receiving.Wait()
}

// begin starts to send the packets of a phase.
func (f *flow) begin(phase uint32, rate int) {
	c := &f.received[phase%2]
	c.packets.Store(0)
	c.damaged.Store(0)
	c.twice.Store(0)
	f.sent.Store(0)
	f.refused.Store(0)
	f.phase.Store(phase)
	stop := make(chan struct{})
	f.stop = stop
	f.sending.Go(func() { f.send(phase, rate, stop) }) // ends with end
}

// end stops sending.
func (f *flow) end() {
	if f.stop != nil {
		close(f.stop)
		f.stop = nil
	}
	f.sending.Wait()
}

// send sends a few packets each tick: of all sizes, and now and then as many as in
// ten ticks at once.
func (f *flow) send(phase uint32, rate int, stop <-chan struct{}) {
	b, number := make([]byte, largest), uint64(0)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	r := rand.New(rand.NewPCG(uint64(phase), 3))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-clock.C:
		}
		burst := rate / int(time.Second/tick)
		if n%20 == 0 {
			burst *= 10
		} else {
			burst = burst * 10 / 19 // so that the rate is right
		}
		for range max(1, burst) {
			p := b[:header+r.IntN(largest-header)]
			f.make(p, phase, number)
			number++
			if _, err := f.out.Write(p); err != nil {
				f.refused.Add(1)
			} else {
				f.sent.Add(1)
			}
		}
	}
}

// make fills a packet.
func (f *flow) make(p []byte, phase uint32, number uint64) {
	binary.BigEndian.PutUint32(p, phase)
	binary.BigEndian.PutUint64(p[4:], number)
	copy(p[header:], f.fill[number%256:])
}

// receive counts what comes.
func (f *flow) receive() {
	b := make([]byte, 2*largest)
	var seen [dedupSize]uint64 // number and phase of the last packet with that remainder
	for {
		n, err := f.in.Read(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		f.take(b[:n], &seen)
	}
}

// take counts one packet.
func (f *flow) take(p []byte, seen *[dedupSize]uint64) {
	phase := f.phase.Load()
	c := &f.received[phase%2]
	if len(p) < header || len(p) > largest {
		c.damaged.Add(1)
		return
	}
	number := binary.BigEndian.Uint64(p[4:])
	if string(p[header:]) != string(f.fill[number%256:][:len(p)-header]) {
		c.damaged.Add(1)
		return
	}
	if binary.BigEndian.Uint32(p) != phase {
		return // late: it was counted as lost
	}
	id := number<<32 | uint64(phase)
	if seen[number%dedupSize] == id {
		c.twice.Add(1)
		return
	}
	seen[number%dedupSize] = id
	c.packets.Add(1)
}

// tally is that of the phase so far.
func (f *flow) tally() tally {
	c := &f.received[f.phase.Load()%2]
	return tally{f.name, f.sent.Load(), c.packets.Load(), c.damaged.Load(), c.twice.Load(), f.refused.Load()}
}
