package session

import (
	"fmt"
	"time"

	"culvert/noise"
	"culvert/noise/noisetest"
)

// step is something that happens, in two bytes.
type step struct{ what, how byte }

// actions are what a step can be, by number. how chooses among more.
var actions = [...]func(p *player, how int){
	func(p *player, how int) { p.wait(p.now.Add(time.Duration(how) * 50 * time.Millisecond)) },
	func(p *player, how int) { p.wait(p.now.Add(time.Duration(how) * time.Second)) },
	(*player).toEdge,
	func(p *player, how int) { p.sendData(how%3 + 1) },
	(*player).arrive,
	(*player).initiated,
	(*player).respond,
	func(p *player, how int) { p.slow = how&1 == 0 },
	func(p *player, how int) { p.finish(how%4 > 0) },
	func(p *player, how int) { p.move() },
	func(p *player, how int) { p.expire() },
	(*player).bounce,
	(*player).persistent,
	(*player).suspend,
	(*player).spurious,
	(*player).spend,
	(*player).cookie,
	(*player).ask,
	func(p *player, how int) { p.wall += time.Duration(int8(how)) * time.Minute },
	(*player).toEdge, // again, so that it is as likely as it should be
}

// step does one, and what follows from it at once.
func (p *player) step(s step) {
	actions[int(s.what)%len(actions)](p, int(s.how))
	p.work()
	if !p.asleep {
		p.wait(p.now)
	}
}

// toEdge goes to where something changes, or a nanosecond beside it. What is due at
// that instant may come before the next step or after it.
func (p *player) toEdge(how int) {
	edges := p.models[0].edges()
	if len(edges) == 0 {
		return
	}
	at := edges[how%len(edges)] + Time(how/len(edges)%4/2) - Time(how/len(edges)%4/3)*2
	if at <= p.now {
		return
	}
	p.wait(at - 1)
	p.now, p.asleep = at, how&1 == 0
}

func (p *player) sendData(n int) {
	if !p.up {
		return
	}
	if !p.usable() {
		why := DataWaits
		if p.send != nil && p.send.counter >= specRejectCounter {
			why = RekeyMessages
		}
		p.staged += n
		p.event(fmt.Sprintf("%d packets wait", n),
			func(out *Actions) error { p.m.NeedKeys(p.now, why, out); return nil },
			func(m *model, o *outcome) { m.staged += n; m.needKeys(p.now, why, 0, o) })
		return
	}
	k := p.send
	p.event(fmt.Sprintf("%d packets are sent", n), func(*Actions) error {
		k.counter += uint64(n)
		p.got.data = n
		p.sent(true)
		return nil
	}, func(m *model, o *outcome) { m.sendData(p.now, n, o) })
	switch {
	case k.counter > specRekeyMessages && !k.askedMany:
		k.askedMany = true
		p.need(RekeyMessages)
	case k.renewAt != 0 && p.now >= k.renewAt && !k.askedAge:
		k.askedAge = true
		p.need(RekeySending)
	}
}

// need is a request of the data path or the user.
func (p *player) need(why Reason) {
	spec := func(slack time.Duration) func(m *model, o *outcome) {
		return func(m *model, o *outcome) { m.needKeys(p.now, why, slack, o) }
	}
	also := []func(m *model, o *outcome){}
	if p.models[0].disputed(p.now, why) {
		also = append(also, spec(specRekeyTimeout))
	}
	p.event("keys are needed: "+why.String(), func(out *Actions) error { p.m.NeedKeys(p.now, why, out); return nil }, spec(0), also...)
}

// arrive is a data packet or a keepalive on one of the keys.
func (p *player) arrive(how int) {
	f := p.facts()
	index := f.indices[how/2%len(f.indices)]
	k := p.keys[index]
	if !p.up || k == nil || p.now >= k.born.Add(specReject) {
		return
	}
	data := how&1 == 0
	p.event(fmt.Sprintf("a packet comes on key %d, data: %v", index, data), func(out *Actions) error {
		p.received(data)
		if k.unconfirmed {
			k.unconfirmed = false
			p.m.Confirmed(p.now, index, out)
		}
		return nil
	}, func(m *model, o *outcome) { m.transport(p.now, index, data, o) })
	if k.kp.Initiator && p.now >= k.born.Add(specRekeyReceive) && !k.askedLate {
		k.askedLate = true
		p.need(RekeyReceiving)
	}
}

// initiated is an initiation of the other side: new, the last one again, or older.
func (p *player) initiated(how int) {
	if !p.up {
		return
	}
	stamp := p.stamp
	switch how % 6 {
	case 0:
	case 1:
		stamp--
	default:
		p.stamp++
		stamp = p.stamp
	}
	p.last++
	in := noise.OpenedInitiation{Timestamp: noise.NewTimestamp(time.Unix(int64(1000+stamp), 0)), RemoteIndex: 1000 + p.last}
	if stamp <= 0 {
		return
	}
	p.event(fmt.Sprintf("an initiation comes with stamp %d", stamp), func(out *Actions) error {
		p.opened = in
		return p.m.Initiation(p.now, &in, out)
	}, func(m *model, o *outcome) { m.initiation(p.now, stamp, in.RemoteIndex, o) })
}

// respond is the other side's response to one of our initiations, mostly the last.
func (p *player) respond(how int) {
	if !p.up || len(p.begun) == 0 {
		return
	}
	i := p.begun[max(0, len(p.begun)-1-how%8/6)]
	known := p.hands[i]
	if !known && how%16 > 0 { // the owner has no such handshake
		return
	}
	kp := &noise.Keypair{LocalIndex: i, RemoteIndex: 5000 + i, Initiator: true}
	p.event(fmt.Sprintf("a response to %d comes", i),
		func(out *Actions) error { return p.m.Response(p.now, i, kp, out) },
		func(m *model, o *outcome) { m.response(p.now, i, o) })
}

// suspend jumps up to half an hour ahead. What comes next may come before the
// owner's timer has.
func (p *player) suspend(how int) {
	p.say(fmt.Sprintf("a suspend of %d s", how*how/32))
	p.now = p.now.Add(time.Duration(how*how/32) * time.Second)
	if p.asleep = true; how&1 == 1 {
		p.wait(p.now)
	}
}

// spurious calls change nothing.
func (p *player) spurious(how int) {
	index := uint32(how / 8)
	var out Actions
	words := ""
	switch how % 4 {
	case 0:
		words = "Advance before the deadline"
		if at, ok := p.m.Deadline(); ok && at > p.now {
			p.m.Advance(p.now, p.act, &out)
		}
	case 1:
		if known := p.facts().indices; how%8 > 1 {
			index = known[how/8%len(known)]
		}
		words = fmt.Sprintf("Confirmed of %d", index)
		if k := p.keys[index]; k == nil || !k.unconfirmed || p.now >= k.born.Add(specReject) {
			p.m.Confirmed(p.now, index, &out)
		}
	case 2:
		words = "InitiationFailed, and none is being built"
		if !p.models[0].building {
			p.m.InitiationFailed(p.now, &out)
		}
	case 3:
		words = fmt.Sprintf("Response to %d", index)
		if !p.hands[index] {
			if err := p.m.Response(p.now, index, &noise.Keypair{LocalIndex: index}, &out); err != ErrStale {
				p.failf("%s: %v", words, err)
			}
		}
	}
	if out != (Actions{}) {
		p.failf("%s: %+v", words, out)
	}
	p.event(words+" changes nothing", nil, func(*model, *outcome) {})
}

// spend lets the counter of the send key jump: to where the key wants renewing, or
// to its end.
func (p *player) spend(how int) {
	if p.send == nil {
		return
	}
	to := max(p.send.counter, specRekeyMessages)
	if how%4 == 0 {
		to = max(p.send.counter, specRejectCounter)
	}
	p.send.counter = to
	p.event(fmt.Sprintf("the counter is %d", to), nil, func(m *model, _ *outcome) { m.current.spent = to >= specRejectCounter })
}

// cookie is a cookie reply to our last handshake message, or to the one before.
func (p *player) cookie(how int) {
	of, last := p.message, how%4 > 0
	if !last {
		of = p.before
	}
	if of == nil {
		return
	}
	var reply [noise.CookieReplySize]byte
	if err := p.checker.CreateReply(p.now, noisetest.Rand(uint64(p.now)), of, source, &reply); err != nil {
		p.failf("cookie reply: %v", err)
	}
	want := last && p.models[0].cookieDue
	if err := p.jar.TakeReply(p.now, theirs, reply[:]); (err == nil) != want {
		p.failf("a cookie reply is taken: %v, want %v", err, want)
	}
	p.event(fmt.Sprintf("a cookie reply comes, to our last message: %v", last), nil, func(m *model, _ *outcome) { m.cookieReply(p.now, last) })
}

// ask is a request that the data path makes too early, twice or too late, or that
// the user makes.
func (p *player) ask(how int) {
	if !p.up {
		return
	}
	why := []Reason{RekeySending, RekeyReceiving, ConfigChanged, DataWaits}[how%4]
	p.need(why)
}
