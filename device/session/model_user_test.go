package session

import (
	"fmt"
	"time"
)

// What the user does.

func (p *player) move() {
	if p.up {
		p.event("the user gives another endpoint",
			func(out *Actions) error { p.m.EndpointChanged(p.now, out); return nil },
			func(m *model, o *outcome) { m.moved(p.now, o) })
	}
}

func (p *player) expire() {
	p.epoch++
	p.event("the user sets another private key",
		func(out *Actions) error { p.m.Expire(p.now, out); return nil },
		func(m *model, o *outcome) { m.expire(p.now, o) })
}

// link takes the interface down or up.
func (p *player) link(up bool) {
	if up == p.up {
		return
	}
	p.up = up
	if up {
		p.event("the interface comes up",
			func(out *Actions) error { p.m.Up(p.now, p.staged > 0, out); return nil },
			func(m *model, o *outcome) { m.raise(p.now, o) })
		return
	}
	p.epoch++
	p.event("the interface goes down",
		func(out *Actions) error { p.m.Clear(out); return nil },
		func(m *model, o *outcome) { m.down(o) })
	if at, ok := p.m.Deadline(); ok {
		p.failf("after Clear the deadline is %v", at.Sub(epoch))
	}
}

// bounce takes the interface down, up, or down and up at once.
func (p *player) bounce(how int) {
	if how%3 < 2 {
		p.link(false)
	}
	if how%3 > 0 {
		p.link(true)
	}
}

func (p *player) persistent(how int) {
	every := []time.Duration{0, 1, 2, 10, 25, 32, 61, 65535}[how%8] * time.Second
	p.event(fmt.Sprintf("the user sets persistent keepalive %v", every),
		func(out *Actions) error { p.m.SetPersistentKeepalive(p.now, every, p.up, out); return nil },
		func(m *model, o *outcome) { m.setPersistent(p.now, every, o) })
	p.asleep = true // a shorter one may be over already
	p.work()
	p.wait(p.now)
}
