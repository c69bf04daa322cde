package device

import (
	"runtime"
	"sync"

	"culvert/conn"
	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/noise"
)

// handshakeQueue bounds the handshake messages that wait for a worker, apart
// from the budget for data, so neither starves the other (kernel:
// MAX_QUEUED_INCOMING_HANDSHAKES).
const handshakeQueue = 4096

// jobQueue bounds the handshakes that the controller wants built.
const jobQueue = 4096

// defaultHandshakeWorkers leaves cores to the pipes.
func defaultHandshakeWorkers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// hsMessage is a handshake message on its way to a worker. It does not count
// against the budget: there are at most handshakeQueue of them.
type hsMessage struct {
	kind    noise.MessageType
	from    conn.Message // without Data
	buf     [noise.InitiationSize]byte
	n       int
	source  *source // where it is counted
	crowded bool    // its source has more waiting than its share
}

// hsJob is a message the controller wants built for p. What comes of it is void
// unless p's epoch is still the same.
type hsJob struct {
	peer   *peer
	epoch  uint32
	answer *noise.OpenedInitiation // a response to this; nil: an initiation
	stamp  noise.Timestamp
}

// offerHandshake queues a handshake message, if its source may have more waiting. One whose mac1 is
// bad, or a cookie reply to nobody, may not occupy anything.
func (in *inbound) offerHandshake(b []byte, m *conn.Message) {
	d, now, kind := in.d, in.now, noise.Classify(b)
	from, cookie := d.crowd.of(m.Remote.Addr()), cookieOf(b)
	switch id := d.identity.Load(); {
	case kind == noise.TypeCookieReply && d.repliedTo(b) == nil:
		d.dropped(now, DropBadCookie, 1, nil)
		return
	case kind != noise.TypeCookieReply && id == nil:
		d.dropped(now, DropNoPrivateKey, 1, nil)
		return
	case d.crowd.spent(now, from, cookie):
		d.dropped(now, DropCrowded, 1, nil)
		return
	case kind != noise.TypeCookieReply && !id.CheckMAC1(&in.hasher, b):
		d.dropped(now, DropBadMAC1, 1, nil)
		return
	}
	crowded, ok := d.crowd.enter(now, from, cookie)
	if !ok {
		d.dropped(now, DropCrowded, 1, nil)
		return
	}
	h, _ := d.hsPool.Get().(*hsMessage)
	if h == nil {
		h = new(hsMessage)
	}
	h.kind, h.source, h.crowded, h.from, h.n = kind, from, crowded, *m, copy(h.buf[:], b)
	h.from.Data = nil
	select {
	case d.handshakes <- h:
	default:
		d.crowd.leave(h.source, h.crowded)
		d.hsPool.Put(h)
		d.dropped(now, DropHandshakes, 1, nil)
	}
}

// repliedTo is the peer whose handshake message a cookie reply claims to answer; nil if there is none.
func (d *Device) repliedTo(reply []byte) *peer {
	e := d.index.get(noise.Receiver(reply))
	if e == nil {
		return nil
	}
	if h := e.pending.Load(); h != nil {
		return h.peer
	}
	if k := e.keypair.Load(); k != nil {
		return k.peer
	}
	return nil
}

// openCookieReply passes a reply on to that peer, if it is still there.
func (d *Device) openCookieReply(now clock.Time, msg []byte) {
	p := d.repliedTo(msg)
	if p == nil {
		d.dropped(now, DropBadCookie, 1, nil)
		return
	}
	reply := [noise.CookieReplySize]byte(msg)
	d.deliverEvent(event{kind: evCookieReply, peer: p, cookie: &reply})
}

// lookup finds a peer by its public key.
func (d *Device) lookup(k config.PublicKey) *peer {
	d.byKey.mu.RLock()
	defer d.byKey.mu.RUnlock()
	return d.byKey.m[k]
}

// sendTo sends one handshake message.
func (d *Device) sendTo(to *conn.Endpoint, msg []byte, tos byte) (conn.Run, bool) {
	run := [1]conn.Run{{Data: msg, Segment: len(msg), To: to, TOS: tos}}
	s := d.sockets.Load()
	if s == nil || to == nil {
		return run[0], false
	}
	(*s).Send(run[:])
	return run[0], run[0].Err == nil
}

// peerMap is the peers by public key: written by the controller, read by
// handshake workers, never by the pipes.
type peerMap struct {
	mu   sync.RWMutex
	m    map[config.PublicKey]*peer
	most int // that m has had: a map of Go keeps its size
}

// put adds a peer.
func (b *peerMap) put(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[p.public] = p
	b.most = max(b.most, len(b.m))
}

// remove takes a peer out.
func (b *peerMap) remove(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, p.public)
}

// shrink gives memory back when few are left of many.
func (b *peerMap) shrink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most < 1024 || len(b.m) > b.most/4 {
		return
	}
	m := make(map[config.PublicKey]*peer, len(b.m))
	for k, p := range b.m {
		m[k] = p
	}
	b.m, b.most = m, len(m)
}
