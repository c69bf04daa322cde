//go:build linux

package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"culvert/device/config"
	"culvert/noise"
)

// Kind is what a flood consists of. Its name is that of the reason for which the
// daemon drops it, or nearly.
type Kind string

// The kinds.
const (
	Garbage    Kind = "garbage"     // datagrams that are no messages
	BadMAC1    Kind = "bad-mac1"    // initiations by those who do not know the daemon's key
	UnknownKey Kind = "unknown-key" // initiations of strangers, all right but for that
	Replays    Kind = "replays"     // an initiation of client 0 that was answered before
	NoSession  Kind = "no-session"  // transport messages with an index that nobody has
	Forged     Kind = "forged"      // transport messages to client 0's session that do not authenticate
	Duplicates Kind = "duplicates"  // a transport message of client 0's session
)

// Kinds are all.
func Kinds() []Kind {
	return []Kind{Garbage, BadMAC1, UnknownKey, Replays, NoSession, Forged, Duplicates}
}

const (
	ring    = 1024 // different messages, and sources, of a flood
	sockets = 8    // and source ports
)

// Sent is what was sent in which time.
type Sent struct {
	Datagrams int64
	Elapsed   time.Duration
}

// Flood sends datagrams of a kind, so many a second (0: as many as it can), from many
// addresses and ports. It must be called in the daemon's namespace. Replays, Forged and
// Duplicates begin a session of client 0 first.
func (c *Clients) Flood(ctx context.Context, kind Kind, rate float64, length time.Duration) (Sent, error) {
	f, err := c.NewFlood(ctx, kind)
	if err != nil {
		return Sent{}, err
	}
	defer f.Close()
	return f.Run(ctx, rate, length)
}

// Flood is one that is ready to begin. One owner.
type Flood struct {
	out     *outbox
	sockets []socket
}

// NewFlood makes the messages of a flood.
func (c *Clients) NewFlood(ctx context.Context, kind Kind) (*Flood, error) {
	if !slices.Contains(Kinds(), kind) {
		return nil, fmt.Errorf("there is no flood of %q", kind)
	}
	message, err := c.messages(ctx, kind)
	if err != nil {
		return nil, err
	}
	f := &Flood{out: newOutbox(c.hub.Addr, ring)}
	for i := range ring {
		m, err := message()
		if err != nil {
			return nil, err
		}
		copy(f.out.add(stranger(i), len(m)), m)
	}
	for range sockets {
		s, err := newSocket()
		if err != nil {
			f.Close()
			return nil, err
		}
		f.sockets = append(f.sockets, s)
	}
	return f, nil
}

// Aim has the flood go to another address and port from now on.
func (f *Flood) Aim(to netip.AddrPort) { f.out.aim(to) }

// Close closes its sockets.
func (f *Flood) Close() {
	for _, s := range f.sockets {
		s.close()
	}
}

// stranger is an address of 127.128.0.0/9, which no client has. Any two are of
// different /24 networks.
func stranger(i int) netip.Addr { return numbered(127<<24|128<<16, i<<8|1) }

// Run sends the messages again and again.
func (f *Flood) Run(ctx context.Context, rate float64, length time.Duration) (Sent, error) {
	p := pace{rate: rate}
	start := time.Now()
	for bursts := 0; ; bursts++ {
		since := time.Since(start)
		if since >= length || ctx.Err() != nil {
			return Sent{p.done, since}, ctx.Err()
		}
		a := int(p.done % ring)
		n := p.due(since, min(burst, ring-a))
		if n == 0 {
			time.Sleep(p.wait(since))
			continue
		}
		if err := f.out.send(f.sockets[bursts%sockets], a, a+n); err != nil {
			return Sent{p.done, since}, err
		}
		p.done += int64(n)
	}
}

// messages gives a maker of a flood's messages.
func (c *Clients) messages(ctx context.Context, kind Kind) (func() ([]byte, error), error) {
	seeded := mathrand.New(mathrand.NewPCG(binary.LittleEndian.Uint64(c.seed[:]), 0))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(seeded.Uint32())
		}
		return b
	}
	typed := func(kind noise.MessageType, n int) []byte {
		b := random(n)
		binary.LittleEndian.PutUint32(b, uint32(kind))
		return b
	}
	switch kind {
	case Garbage:
		return func() ([]byte, error) { return typed(noise.TypeInvalid, 4+seeded.IntN(200)), nil }, nil
	case BadMAC1:
		return func() ([]byte, error) { return typed(noise.TypeInitiation, noise.InitiationSize), nil }, nil
	case NoSession:
		return func() ([]byte, error) { return typed(noise.TypeTransport, 128), nil }, nil
	case UnknownKey:
		return c.strangers()
	}
	initiation, err := c.talk(ctx)
	if err != nil {
		return nil, err
	}
	keepalive := make([]byte, noise.KeepaliveSize)
	switch kind {
	case Replays:
		return func() ([]byte, error) { return initiation, nil }, nil
	case Duplicates:
		c.seal(0, keepalive, nil)
		return func() ([]byte, error) { return keepalive, nil }, nil
	default:
		index := c.all[0].keys.RemoteIndex
		return func() ([]byte, error) {
			b := random(128)
			noise.PutTransportHeader(b, index, 1<<20+uint64(seeded.Uint32()))
			return b, nil
		}, nil
	}
}

// strangers makes initiations of a key that is no peer, each with an ephemeral key of
// its own.
func (c *Clients) strangers() (func() ([]byte, error), error) {
	var k config.PrivateKey
	rand.Read(k[:])
	id, err := noise.NewIdentity(&k)
	if err != nil {
		return nil, err
	}
	r := noise.Remote{Static: c.hub.Public}
	if r.Shared, err = id.StaticShared(r.Static); err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		var msg [noise.InitiationSize]byte
		_, err := noise.CreateInitiation(rand.Reader, id, &r, 0, noise.NewTimestamp(c.clock.Wall()), &msg)
		new(noise.CookieJar).Seal(c.clock.Now(), r.Static, msg[:])
		return msg[:], err
	}, nil
}

// talk begins a session of client 0, and gives the initiation that it did it with.
func (c *Clients) talk(ctx context.Context) ([]byte, error) {
	if err := c.prepare(0); err != nil {
		return nil, err
	}
	initiation := slices.Clone(c.all[0].hello.msg[:])
	return initiation, c.session(ctx, 0)
}

// Traffic has all clients that have a session send a packet in turn, so many a second
// all together (0: as many as they can): keepalives if packet gives nil. It must be
// called in the daemon's namespace.
func (c *Clients) Traffic(ctx context.Context, packet func(client int) []byte, rate float64, length time.Duration) (Sent, error) {
	s, err := newSocket()
	if err != nil {
		return Sent{}, err
	}
	defer s.close()
	return c.traffic(ctx, s, packet, rate, math.MaxInt64, length)
}

// traffic is Traffic from a socket, of so many packets at most.
func (c *Clients) traffic(ctx context.Context, s socket, packet func(client int) []byte, rate float64, most int64, length time.Duration) (Sent, error) {
	if c.Sessions() == 0 {
		return Sent{}, errors.New("no client has a session")
	}
	out, p := newOutbox(c.hub.Addr, burst), pace{rate: rate}
	start := time.Now()
	for next := 0; ; {
		since := time.Since(start)
		if since >= length || p.done == most || ctx.Err() != nil {
			return Sent{p.done, since}, ctx.Err()
		}
		n := p.due(since, int(min(burst, most-p.done)))
		if n == 0 {
			time.Sleep(p.wait(since))
			continue
		}
		for added := 0; added < n; next++ {
			i := next % len(c.all)
			if c.all[i].keys == nil {
				continue
			}
			b := packet(i)
			c.seal(i, out.add(c.Outer(i), transportSize(len(b))), b)
			added++
		}
		if err := out.flush(s); err != nil {
			return Sent{p.done, since}, err
		}
		p.done += int64(n)
	}
}
