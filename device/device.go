package device

import (
	crand "crypto/rand"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"culvert/conn"
	"culvert/device/config"
	"culvert/device/routes"
	"culvert/device/session"
	"culvert/internal/clock"
	"culvert/internal/scrub"
	"culvert/ratelimiter"
	"culvert/timers"
	"culvert/tun"
)

// Options are the settings of a device; the zero value is a good one.
type Options struct {
	Logger *slog.Logger // nil: nothing is logged
	Clock  clock.Clock  // nil: the system's
	Rand   io.Reader    // nil: crypto/rand; keys, indices and cookies come from here, to several goroutines at once

	// Budget bounds all packet memory, in bytes: MinBudget at least for each
	// TUN queue; 0: derived from the numbers of cores and queues.
	Budget int64
	// Workers seal and open in parallel when a reader cannot keep up; 0:
	// derived from the number of cores, negative: none.
	Workers int
	// Jitter draws from [0, most), for timers that must not fire everywhere at once:
	// the controller's goroutine calls it. nil: math/rand/v2. For tests, of which the
	// same seed is to give the same times.
	Jitter func(most time.Duration) time.Duration
	// Stamps keeps the last handshake label over restarts; nil: it is forgotten.
	Stamps StampStore
	// AlwaysParallel hands every batch to the workers: for tests.
	AlwaysParallel bool
	anyBudget      bool // less than MinBudget: for tests
}

// Device is one WireGuard interface between a TUN device and UDP sockets. All
// its methods are safe for concurrent use. See doc.go for its goroutines.
type Device struct {
	log     *slog.Logger
	clock   clock.Clock
	rand    io.Reader
	opts    Options
	tun     tun.Device
	network conn.Network

	// Snapshots and counters, read by the pipes without a lock.
	routes       routes.Table[peer]
	index        indexTable
	identity     atomic.Pointer[identity]      // nil: no private key
	sockets      atomic.Pointer[conn.Sockets]  // nil: down
	raised       atomic.Pointer[chan struct{}] // closed when sockets are opened next
	port         atomic.Uint32                 // what the sockets are bound to; kept while down
	mtu          atomic.Int32
	drops        drops
	readerCounts readerCounts
	icmp         icmpLimit
	errors       errorLog
	state        socketState

	budget      budget // of arenas
	stageBudget budget // of staged packets, so that they cannot starve what flows
	outPool     pool[outBatch]
	inPool      pool[inBatch]
	readPool    pool[readChunk]
	hsPool      sync.Pool // of *hsMessage

	byKey peerMap
	gate  gate
	crowd crowd
	flood flood

	handshakes chan *hsMessage // closed by nobody: workers end on closing
	jobs       chan hsJob
	events     chan event
	commands   chan func()
	sweeps     chan struct{} // a pool keeps more than it may need
	// handshakeWorkers is how many there are.
	handshakeWorkers int
	work             chan job // closed by Close, after every writer has ended

	readers sync.WaitGroup // outbound readers
	workers sync.WaitGroup // crypto and handshake workers
	runners sync.WaitGroup // sequential senders and receivers on goroutines of their own
	watcher sync.WaitGroup
	keeper  sync.WaitGroup

	stamps     *stampKeeper // nil: none
	controller *controller
	session    session.Rand
	closeOnce  sync.Once
	closing    chan struct{} // closed first by Close
	stop       chan struct{} // tells the controller, the last one, to end
	ended      chan struct{} // closed by the controller
	gone       chan struct{} // closed when the interface is deleted or the device closed
	goneOnce   sync.Once
}

// New makes a device on an open TUN interface. It follows the state of that
// interface: sockets are opened when it comes up. The device owns t from now
// on, also when New fails.
func New(t tun.Device, n conn.Network, opts Options) (*Device, error) {
	d := &Device{
		log: opts.Logger, clock: opts.Clock, rand: opts.Rand, opts: opts, tun: t, network: splitting(n),
		handshakes: make(chan *hsMessage, handshakeQueue),
		jobs:       make(chan hsJob, jobQueue),
		events:     make(chan event, eventQueue),
		commands:   make(chan func()),
		sweeps:     make(chan struct{}, 1),
		work:       make(chan job, workQueue),
		closing:    make(chan struct{}), stop: make(chan struct{}),
		ended: make(chan struct{}), gone: make(chan struct{}),
	}
	d.defaults()
	if err := d.divide(); err != nil {
		t.Close()
		return nil, err
	}
	d.mtu.Store(int32(t.MTU()))
	d.raised.Store(new(make(chan struct{})))
	d.session = session.Rand{Jitter: func() time.Duration { return d.opts.Jitter(timers.MaxJitter) }, Slot: dueSlot}
	d.handshakeWorkers = defaultHandshakeWorkers()
	d.crowd.init(d.handshakeWorkers)
	d.controller = &controller{d: d, wheel: timers.NewWheel[peer](d.clock.Now()), keepalives: keepalives{most: keepaliveBatch}, together: dueTogether}
	if opts.Stamps != nil {
		var err error
		if d.stamps, err = newStampKeeper(opts.Stamps); err != nil {
			t.Close()
			return nil, err
		}
		d.controller.lastStamp = d.stamps.last
	}
	d.start()
	return d, nil
}

func (d *Device) defaults() {
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.clock == nil {
		d.clock = clock.System()
	}
	if d.rand == nil {
		d.rand = crand.Reader
	}
	if d.opts.Jitter == nil {
		d.opts.Jitter = jitter
	}
	if d.opts.Workers == 0 {
		d.opts.Workers = defaultWorkers()
	}
	d.state.init()
	d.flood.init()
	d.byKey.m = make(map[config.PublicKey]*peer)
	d.gate.limit = ratelimiter.New()
}

// start starts the goroutines that live as long as the device. All of them seal or open, or compute with keys.
func (d *Device) start() {
	go scrub.Run(d.controller.run)
	for range max(0, d.opts.Workers) {
		d.workers.Add(1)
		go scrub.Run(d.runWorker)
	}
	for range d.handshakeWorkers {
		d.workers.Add(1)
		go scrub.Run(d.runHandshakes)
	}
	for i, r := range d.tun.Readers() {
		d.readers.Add(1)
		go scrub.Run((&outbound{d: d, shard: i, reader: r, ahead: backlog{pool: &d.readPool}, load: d.newLoad(), rhythm: d.newModeration()}).run)
	}
	d.watcher.Add(1)
	go d.watch()
	if d.stamps != nil {
		d.keeper.Go(func() {
			d.stamps.run(func(err error) { d.log.Error("cannot save the last handshake time; it is tried again", "error", err) })
		})
	}
}

// jitter draws from [0, most).
func jitter(most time.Duration) time.Duration { return rand.N(most) }

// watch follows the interface until the TUN is closed.
func (d *Device) watch() {
	defer d.watcher.Done()
	for ev := range d.tun.Events() {
		switch ev.Kind {
		case tun.Up:
			d.do(func() { d.controller.linkUp() })
		case tun.Down:
			d.do(func() { d.controller.linkDown() })
		case tun.MTUChanged:
			d.mtu.Store(int32(ev.MTU))
			d.log.Debug("mtu changed", "mtu", ev.MTU)
		case tun.Deleted:
			d.log.Info("interface deleted")
			d.goneOnce.Do(func() { close(d.gone) })
		}
	}
}

// Done is closed when the interface was deleted or the device closed. The owner
// then calls Close.
func (d *Device) Done() <-chan struct{} { return d.gone }

// Close ends the device and removes its interface. It may be called more than
// once and by several goroutines; each returns when all is done.
//
// That every goroutine ends:
//  1. closing is closed: handshake workers end after the message in hand. No
//     sockets are opened any more, and those that are open are closed: that
//     ends the inbound readers, and every send that the network blocks, so
//     nobody, the controller included, waits for the network.
//  2. The TUN is closed: Read ends the outbound readers, Events the watcher.
//  3. The controller goes down: sessions and staged packets are gone.
//  4. Nobody writes to the work queue any more: it is closed; workers finish
//     what is in it and end, so every runner gets its batches back and its
//     queue runs dry.
//  5. The controller ends: it waits for nobody.
//  6. The keeper of the last handshake label, if there is one, saves it and ends.
//
// Then nobody holds a key any more but the device itself, and those are wiped.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		close(d.closing)
		if s := d.sockets.Load(); s != nil {
			(*s).Close()
		}
		err := d.tun.Close()
		d.readers.Wait()
		d.watcher.Wait()
		d.do(func() { d.controller.linkDown() })
		close(d.work)
		d.workers.Wait()
		d.runners.Wait()
		close(d.stop)
		<-d.ended
		if d.stamps != nil {
			close(d.stamps.want)
			d.keeper.Wait()
		}
		d.drain()
		d.forgetKeys()
		d.inPool.trim()
		d.readPool.trim()
		d.outPool.trim()
		d.goneOnce.Do(func() { close(d.gone) })
		if err != nil && !errors.Is(err, os.ErrClosed) {
			d.log.Debug("closing the interface", "error", err)
		}
	})
	<-d.gone
	return nil
}

// drain wipes what was on its way to the controller. Nobody else runs any more.
func (d *Device) drain() {
	for {
		select {
		case ev := <-d.events:
			d.void(&ev)
		case j := <-d.jobs:
			if j.answer != nil {
				j.answer.Wipe()
			}
		default:
			return
		}
	}
}

// forgetKeys wipes what the configuration has of secrets. Nobody else runs any more.
func (d *Device) forgetKeys() {
	for p := range d.controller.peers.all {
		p.setRemote(nil)
	}
	d.setIdentity(nil)
	d.gate.setCookies(nil)
}

// MTU is the interface's current MTU.
func (d *Device) MTU() int { return int(d.mtu.Load()) }
