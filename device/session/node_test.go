package session

import (
	"fmt"
	"time"

	"culvert/noise"
	"culvert/timers"
)

// node is one side: a machine, its owner and its data path.
type node struct {
	s      *sim
	name   string
	other  *node
	m      Machine
	act    Activity
	up     bool
	out    wire
	id     *noise.Identity
	remote *noise.Remote

	staged    int
	delivered int // data received
	sendKey   *simKey
	keys      map[uint32]*simKey
	pending   map[uint32]*simPending
	accepted  *message
	lastSent  *message // the last initiation
	opened    noise.OpenedInitiation

	// For the laws.
	nextIndex      uint32
	made           int             // initiations begun
	known          map[uint32]bool // every index there ever was; true: not forgotten
	lastInitiation Time
	exempt         bool // the next initiation need not wait for REKEY_TIMEOUT
	youngest       Time // when the youngest key was derived
}

// simKey is a keypair as the data path has it.
type simKey struct {
	kp               *noise.Keypair
	name             string
	birth            Time
	renewAt          Time // from when it asks for another when it sends; Never: never
	counter          uint64
	unconfirmed      bool
	askedSend, asked bool
}

// simPending is an initiation that waits for its response.
type simPending struct {
	name string
	h    *noise.Handshake
}

// state is all of a machine, to compare.
type state struct {
	m Machine
	k keys
}

func (n *node) state() (s state) {
	s.m = n.m
	if n.m.keys != nil {
		s.k = *n.m.keys
	}
	return s
}

// call is the owner's part of the contract: fresh Actions, perform, laws.
func (n *node) call(f func(out *Actions)) {
	n.s.t.Helper()
	var out Actions
	f(&out)
	n.perform(&out, nil, "")
}

// advance calls Advance, now that it is due; before that, an early call must
// change nothing.
func (n *node) advance() {
	n.early(-1)
	n.call(func(out *Actions) { n.m.Advance(n.s.now, n.act, out) })
	if at, ok := n.m.Deadline(); ok && at <= n.s.now {
		n.s.fatalf("%s: after Advance the deadline is %v ago", n.name, n.s.now.Sub(at))
	}
}

// early calls Advance d away from the deadline (d < 0).
func (n *node) early(d time.Duration) {
	at, ok := n.m.Deadline()
	if !ok {
		return
	}
	before := n.state()
	var out Actions
	n.m.Advance(at.Add(d), n.act, &out)
	if out != (Actions{}) || before != n.state() {
		n.s.fatalf("%s: an early Advance changed something: %+v", n.name, out)
	}
}

// index gives a fresh one.
func (n *node) index() uint32 {
	n.nextIndex++
	n.known[n.nextIndex] = true
	return n.nextIndex
}

// perform does what the machine says, in the order of the fields. built is
// the message that goes out on SendHandshake.
func (n *node) perform(out *Actions, built *message, name string) {
	s := n.s
	s.t.Helper()
	for _, i := range out.Forget[:out.ForgetN] {
		n.forget(i)
	}
	if out.Install != nil {
		n.install(out.Install, name)
	}
	if out.SetSendKey {
		n.setSendKey(out.SendKey)
	}
	if out.HandshakeComplete {
		s.logf("%s has a session", n.name)
	}
	if out.ForgetSource {
		s.logf("%s forgets the source", n.name)
	}
	if out.Initiate {
		n.build(out.InitiateReason, out.Attempt)
	}
	if out.Respond {
		m, in := n.accepted, n.opened
		s.later(s.built, func() { n.respond(m, in) })
	}
	if out.SendHandshake {
		n.sent(false)
		n.sendHandshake(built)
	}
	if out.DropStaged {
		if n.staged > 0 {
			s.logf("%s drops %d staged", n.name, n.staged)
		}
		n.staged = 0
	}
	n.traffic(out)
	if out.Note != None {
		s.logf("%s: %s", n.name, out.Note)
	}
	n.laws()
}

func (n *node) traffic(out *Actions) {
	if out.Keepalive && !out.Flush {
		n.s.fatalf("%s: Keepalive without Flush", n.name)
	}
	if out.ClearUnacked {
		n.act.UnackedSince, n.act.MoreUnacked = 0, false
	}
	if out.ClearUnanswered {
		n.act.UnansweredSince = 0
	}
	if out.Flush {
		if n.sendKey == nil || n.dead(n.sendKey) {
			n.s.fatalf("%s: Flush without a live key", n.name)
		}
		staged := n.staged
		n.staged = 0
		for range staged {
			n.sendOn(n.sendKey, true, "data")
		}
		if staged == 0 && out.Keepalive {
			n.sendOn(n.sendKey, false, "keepalive because "+out.KeepaliveReason.String())
		}
	}
	if out.RearmKeepalive {
		n.act.UnackedSince, n.act.MoreUnacked = n.s.now, false
	}
}

func (n *node) forget(i uint32) {
	if !n.known[i] {
		n.s.fatalf("%s: index %d is forgotten twice", n.name, i)
	}
	n.known[i] = false
	delete(n.pending, i)
	delete(n.keys, i)
}

func (n *node) install(kp *noise.Keypair, name string) {
	if !n.known[kp.LocalIndex] || n.keys[kp.LocalIndex] != nil {
		n.s.fatalf("%s: index %d is installed but was forgotten or is in use", n.name, kp.LocalIndex)
	}
	delete(n.pending, kp.LocalIndex)
	k := &simKey{kp: kp, name: name, birth: n.s.now, unconfirmed: !kp.Initiator}
	if kp.Initiator {
		k.renewAt = timers.RekeyAt(k.birth, time.Duration(n.s.rand.Int64N(int64(timers.MaxRekeyJitter)+1)))
	}
	n.keys[kp.LocalIndex] = k
	n.youngest = n.s.now
	if len(n.keys) > 3 {
		n.s.fatalf("%s: %d keypairs", n.name, len(n.keys))
	}
}

func (n *node) setSendKey(kp *noise.Keypair) {
	if kp == nil {
		if n.sendKey != nil {
			n.s.logf("%s has no send key", n.name)
		}
		n.sendKey = nil
		return
	}
	if n.sendKey = n.keys[kp.LocalIndex]; n.sendKey == nil {
		n.s.fatalf("%s: the send key is not installed", n.name)
	}
}

// dead is the data path's own limit.
func (n *node) dead(k *simKey) bool { return n.s.now >= timers.RejectAt(k.birth) }

// laws that hold after every call.
func (n *node) laws() {
	s := n.s
	s.t.Helper()
	at, ok := n.m.Deadline()
	if k := n.sendKey; k != nil && n.dead(k) && (!ok || at > s.now) {
		s.fatalf("%s: the send key is %v old", n.name, s.now.Sub(k.birth))
	}
	if len(n.keys) > 0 && s.now < timers.RejectAt(n.youngest) {
		if !ok || at > s.now.Add(timers.KeepaliveTimeout) {
			s.fatalf("%s: with a session the next look is at %v", n.name, at.Sub(epoch))
		}
	}
	if k := n.sendKey; k != nil && n.keys[k.kp.LocalIndex] != k {
		s.fatalf("%s: the send key was forgotten", n.name)
	}
	slots := map[*noise.Keypair]bool{}
	if k := n.m.keys; k != nil {
		for _, sl := range []slot{k.current, k.previous, k.next} {
			if sl.kp != nil {
				slots[sl.kp] = true
			}
		}
	}
	if len(slots) != len(n.keys) {
		s.fatalf("%s: %d keypairs in slots, %d installed", n.name, len(slots), len(n.keys))
	}
}

// sendData is the data path: a packet for the peer.
func (n *node) sendData() {
	if !n.up {
		return
	}
	k := n.sendKey
	if k == nil || n.dead(k) {
		n.staged++
		n.call(func(out *Actions) { n.m.NeedKeys(n.s.now, DataWaits, out) })
		return
	}
	n.sendOn(k, true, "data")
	if due(k.renewAt, n.s.now) && !k.askedSend {
		k.askedSend = true
		n.call(func(out *Actions) { n.m.NeedKeys(n.s.now, RekeySending, out) })
	}
}

func (n *node) sendOn(k *simKey, data bool, text string) {
	if n.dead(k) {
		n.s.fatalf("%s sends with a key %v old", n.name, n.s.now.Sub(k.birth))
	}
	m := &message{kind: noise.TypeTransport, name: k.name, receiver: k.kp.RemoteIndex, counter: k.counter, data: data}
	k.counter++
	if n.s.real {
		m.bytes = make([]byte, 32)
		copy(m.bytes, "only the key tells")
		k.kp.Send.Seal(m.bytes, m.counter)
	}
	n.sent(data)
	n.transmit(m, text)
}

// sent and got are what the data path notes.
func (n *node) sent(data bool) {
	n.act.UnackedSince, n.act.MoreUnacked = 0, false
	if data && n.act.UnansweredSince.IsZero() {
		n.act.UnansweredSince = n.s.now
	}
	n.act.LastTraffic = n.s.now
}

func (n *node) got(data bool) {
	n.act.UnansweredSince = 0
	if data && n.act.UnackedSince.IsZero() {
		n.act.UnackedSince = n.s.now
	} else if data {
		n.act.MoreUnacked = true
	}
	n.act.LastTraffic = n.s.now
}

func (n *node) receive(m *message) {
	if !n.up {
		return
	}
	switch m.kind {
	case noise.TypeInitiation:
		n.receiveInitiation(m)
	case noise.TypeResponse:
		n.receiveResponse(m)
	case noise.TypeTransport:
		n.receiveTransport(m)
	}
}

func (n *node) receiveTransport(m *message) {
	k := n.keys[m.receiver]
	if k == nil {
		n.s.logf("%s knows no such key", n.name)
		return
	}
	if n.dead(k) {
		n.s.logf("%s rejects an old key", n.name)
		return
	}
	if n.s.real && !k.kp.Recv.Open(append([]byte(nil), m.bytes...), m.counter) {
		n.s.fatalf("%s cannot open what came", n.name)
	}
	if m.data {
		n.delivered++
	}
	n.got(m.data)
	if k.unconfirmed {
		k.unconfirmed = false
		n.call(func(out *Actions) { n.m.Confirmed(n.s.now, m.receiver, out) })
	}
	if k.kp.Initiator && n.s.now >= timers.RekeyOnReceiveAt(k.birth) && !k.asked {
		k.asked = true
		n.call(func(out *Actions) { n.m.NeedKeys(n.s.now, RekeyReceiving, out) })
	}
}

// setUp is the interface going up or down.
func (n *node) setUp(up bool) {
	if n.up == up {
		return
	}
	n.exempt = true
	if n.up = up; up {
		n.call(func(out *Actions) { n.m.Up(n.s.now, n.staged > 0, out) })
		return
	}
	n.call(func(out *Actions) { n.m.Clear(out) })
	if at, ok := n.m.Deadline(); ok || len(n.keys)+len(n.pending) > 0 {
		n.s.fatalf("%s: after Clear something is left: deadline %v", n.name, at)
	}
}

// endpointChanged is the user.
func (n *node) endpointChanged() {
	n.exempt = true
	n.call(func(out *Actions) { n.m.EndpointChanged(n.s.now, out) })
}

func (n *node) setPersistent(d time.Duration) {
	n.call(func(out *Actions) { n.m.SetPersistentKeepalive(n.s.now, d, n.up, out) })
}

// slots tells the key slots by the initiations the keys came from.
func (n *node) slots() string {
	name := func(s slot) string {
		if s.kp == nil {
			return "-"
		}
		return n.keys[s.kp.LocalIndex].name
	}
	k := n.m.keys
	if k == nil {
		k = &keys{}
	}
	return fmt.Sprintf("current %s, previous %s, next %s", name(k.current), name(k.previous), name(k.next))
}
