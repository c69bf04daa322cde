//go:build linux

package load

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/blake2s"

	"culvert/device/config"
	"culvert/internal/aead"
	"culvert/internal/clock"
	"culvert/noise"
)

// Hub is the daemon that all talk to.
type Hub struct {
	Public config.PublicKey
	Addr   netip.AddrPort // IPv4
}

// Clients are clients of one daemon, numbered from 0. One owner.
type Clients struct {
	hub   Hub
	seed  [32]byte
	all   []client
	clock clock.Clock
}

// client is one of them.
type client struct {
	public  config.PublicKey
	hello   *hello         // its handshake: prepared or under way
	keys    *noise.Keypair // its session
	counter uint64         // of the next message
}

// hello is a client's handshake.
type hello struct {
	id     *noise.Identity
	remote noise.Remote
	state  *noise.Handshake
	jar    noise.CookieJar
	begun  time.Time // when the first initiation went out; zero: not yet
	msg    [noise.InitiationSize]byte
}

// MaxClients is how many inner and outer addresses there are.
const MaxClients = 1<<22 - 2

// New makes n clients, whose keys depend on the seed alone.
func New(hub Hub, seed uint64, n int) (*Clients, error) {
	if n < 1 || n > MaxClients {
		return nil, fmt.Errorf("there can be 1 to %d clients, not %d", MaxClients, n)
	}
	c := &Clients{hub: hub, all: make([]client, n), clock: clock.System()}
	binary.LittleEndian.PutUint64(c.seed[:], seed)
	return c, c.each(0, n, func(i int) error {
		id, err := c.identity(i)
		if err == nil {
			c.all[i].public = id.PublicKey()
		}
		return err
	})
}

// each calls f for the clients from number a to before b, on all processors.
func (c *Clients) each(a, b int, f func(i int) error) (err error) {
	var wg sync.WaitGroup
	var once sync.Once
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { // ends with the numbers
			for i := a + int(next.Add(1)) - 1; i < b; i = a + int(next.Add(1)) - 1 {
				if e := f(i); e != nil {
					once.Do(func() { err = fmt.Errorf("client %d: %w", i, e) })
				}
			}
		})
	}
	wg.Wait()
	return err
}

// identity computes the identity of a client from the seed.
func (c *Clients) identity(i int) (*noise.Identity, error) {
	h, err := blake2s.New256(c.seed[:])
	if err != nil {
		return nil, err
	}
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	k := config.PrivateKey(h.Sum(nil))
	return noise.NewIdentity(&k)
}

// Len is how many there are.
func (c *Clients) Len() int { return len(c.all) }

// Public is what the daemon knows client i by.
func (c *Clients) Public(i int) config.PublicKey { return c.all[i].public }

// Inner is the inner address of client i, Outer the one it sends from.
func (*Clients) Inner(i int) netip.Addr { return numbered(100<<24|64<<16, i+2) } // 100.64.0.0/10
func (*Clients) Outer(i int) netip.Addr { return numbered(127<<24|64<<16, i+2) }

// numbered is an address that far behind a base.
func numbered(base uint32, i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], base+uint32(i))
	return netip.AddrFrom4(b)
}

// Sessions is how many have one.
func (c *Clients) Sessions() (n int) {
	for i := range c.all {
		if c.all[i].keys != nil {
			n++
		}
	}
	return n
}

// Prepare makes the initiations of the clients from number a to before b, so that a
// storm need not.
func (c *Clients) Prepare(a, b int) error { return c.each(a, b, c.prepare) }

func (c *Clients) prepare(i int) error {
	h := c.all[i].hello
	if h == nil {
		id, err := c.identity(i)
		if err != nil {
			return err
		}
		h = &hello{id: id, remote: noise.Remote{Static: c.hub.Public}}
		if h.remote.Shared, err = id.StaticShared(c.hub.Public); err != nil {
			return err
		}
	}
	state, err := noise.CreateInitiation(rand.Reader, h.id, &h.remote, uint32(i), noise.NewTimestamp(c.clock.Wall()), &h.msg)
	if err != nil {
		return err
	}
	h.state = state
	h.jar.Seal(c.clock.Now(), c.hub.Public, h.msg[:])
	c.all[i].hello = h
	return nil
}

// respond takes the response to client i's initiation.
func (c *Clients) respond(i int, msg []byte) bool {
	p := &c.all[i]
	keys, err := p.hello.id.OpenResponse(p.hello.state, &p.hello.remote, msg)
	if err != nil {
		return false
	}
	p.keys, p.counter, p.hello = keys, 0, nil
	return true
}

// transportSize is the size of the message with a packet of that size.
func transportSize(packet int) int {
	return noise.TransportHeaderSize + (packet+15)&^15 + aead.Overhead
}

// seal writes the next message of client i, with packet in it, to b, which has its
// transportSize.
func (c *Clients) seal(i int, b, packet []byte) {
	p := &c.all[i]
	noise.PutTransportHeader(b, p.keys.RemoteIndex, p.counter)
	clear(b[noise.TransportHeaderSize+copy(b[noise.TransportHeaderSize:], packet):])
	p.keys.Send.Seal(b[noise.TransportHeaderSize:], p.counter)
	p.counter++
}
