package session

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"culvert/device/config"
	"culvert/noise"
)

// player is the owner and the data path of one Machine, as simple as can be, and
// the whole world around it. It shows all that happens to the Machine and to
// the models.
type player struct {
	now    Time
	rand   *rand.Rand
	m      Machine
	act    Activity
	jar    noise.CookieJar
	models []model
	got    outcome // what the event in hand led to

	telling bool // lines are wanted
	lines   []string

	up     bool
	asleep bool // it may be late: time has jumped
	send   *playKey
	keys   map[uint32]*playKey
	hands  map[uint32]bool // handshakes whose index leads here
	staged int
	last   uint32 // index given
	begun  []uint32
	builds []build
	slow   bool // what is to be built takes until a worker ends
	epoch  int  // builds of an earlier one are void
	stamp  int  // of the other side's last initiation
	opened noise.OpenedInitiation
	wall   time.Duration // how far the wall clock is off
	label  noise.Timestamp

	checker *noise.CookieChecker
	message []byte // our last handshake message, with MACs
	before  []byte // and the one before
}

// playKey is a keypair as the data path has it.
type playKey struct {
	kp                             *noise.Keypair
	born, renewAt                  Time
	counter                        uint64
	unconfirmed                    bool
	askedAge, askedLate, askedMany bool
}

// build is a handshake message that a worker makes.
type build struct {
	respond bool
	remote  uint32
	epoch   int
}

// violation is a difference between Machine and models.
type violation string

// theirs is the other side's public key, for MACs; where it is says source.
var (
	theirs = config.PublicKey{1, 2, 3}
	source = netip.MustParseAddrPort("192.0.2.1:51820")
)

func newPlayer(seed uint64) *player {
	p := &player{now: epoch, rand: rand.New(rand.NewPCG(seed, 9)), models: make([]model, 1)}
	p.keys, p.hands = map[uint32]*playKey{}, map[uint32]bool{}
	p.m = New(&Rand{Jitter: func() time.Duration { return p.draw(specJitter) }})
	p.checker = noise.NewCookieChecker(theirs)
	return p
}

// draw is a jitter of up to most, often the least and the most.
func (p *player) draw(most time.Duration) time.Duration {
	switch p.rand.IntN(6) {
	case 0:
		return 0
	case 1:
		return most
	}
	return time.Duration(p.rand.Int64N(int64(most) + 1))
}

func (p *player) failf(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

// event shows something to the Machine (call) and to each model (spec, or where
// more than one thing is right, also others), and compares.
func (p *player) event(words string, call func(out *Actions) error, spec func(m *model, o *outcome), also ...func(m *model, o *outcome)) {
	p.say(words)
	if !p.asleep {
		p.punctual()
	}
	p.do(call)
	var left []model
	for _, m := range p.models {
		for _, f := range append(also, spec) {
			after, o := m, outcome{}
			f(&after, &o)
			left = p.keep(left, after, o)
		}
	}
	p.settle(left, spec)
}

// do calls the Machine and does what it says.
func (p *player) do(call func(out *Actions) error) {
	p.got = outcome{}
	if call == nil {
		return
	}
	var out Actions
	if p.got.err = call(&out); p.got.err != nil && out != (Actions{}) {
		p.failf("an error, and Actions: %+v", out)
	}
	p.perform(&out)
}

// keep adds m to left if it says what was seen.
func (p *player) keep(left []model, m model, o outcome) []model {
	if o == p.got && m.facts(p.now) == p.facts() && !slices.Contains(left, m) {
		left = append(left, m)
	}
	return left
}

// settle goes on with the models that are left, or says what was wrong with the first.
func (p *player) settle(left []model, spec func(m *model, o *outcome)) {
	p.note()
	if len(left) == 0 {
		m, o := p.models[0], outcome{}
		spec(&m, &o)
		p.failf("the machine did\n\t%+v, then %+v;\nthe paper says\n\t%+v, then %+v", p.got, p.facts(), o, m.facts(p.now))
	}
	p.models = left
}

// punctual drops models in which a timer should have fired.
func (p *player) punctual() {
	why := ""
	left := slices.DeleteFunc(p.models, func(m model) bool {
		if late := m.overdue(p.now); late != "" {
			why = late
			return true
		}
		return false
	})
	if len(left) == 0 {
		p.failf("nothing happened until %v: %s", p.now.Sub(epoch), why)
	}
	p.models = left
}

// facts are what can be seen of the Machine.
func (p *player) facts() (f facts) {
	i := 0
	for index := range p.hands {
		f.indices[i] = index
		i++
	}
	for index := range p.keys {
		if i == len(f.indices) {
			p.failf("more than a handshake and three keypairs")
		}
		f.indices[i] = index
		i++
	}
	slices.Sort(f.indices[:])
	if k := p.send; k != nil && p.now < k.born.Add(specReject) {
		f.send = k.kp.LocalIndex
	}
	f.unacked, f.more, f.unanswer = p.act.UnackedSince, p.act.MoreUnacked, p.act.UnansweredSince
	f.staged = p.staged
	return f
}

// advance is the owner's call at the deadline.
func (p *player) advance() {
	p.say("time passes")
	quiet := len(p.lines)
	if !p.asleep {
		p.punctual()
	}
	p.do(func(out *Actions) error { p.m.Advance(p.now, p.act, out); return nil })
	var left []model
	for _, before := range p.models {
		for _, c := range before.choices(p.now) {
			m, o := before, outcome{}
			m.fire(p.now, c, &o)
			left = p.keep(left, m, o)
		}
	}
	p.settle(left, func(m *model, o *outcome) { m.fire(p.now, m.choices(p.now)[0], o) })
	if p.telling && p.got == (outcome{}) {
		p.lines = p.lines[:quiet-1]
	}
	p.asleep = false
	p.punctual()
	if at, ok := p.m.Deadline(); ok && at <= p.now {
		p.failf("after Advance the deadline is %v ago", p.now.Sub(at))
	}
	if p.send != nil && p.now >= p.send.born.Add(specReject) {
		p.failf("the send key is dead and was not withdrawn")
	}
}

// wait lets time pass until at, with all that comes due.
func (p *player) wait(at Time) {
	for n := 0; p.up; n++ {
		due, ok := p.m.Deadline()
		if !ok || due > at {
			break
		}
		if n > 3000 {
			p.failf("Advance is called again and again")
		}
		p.now = max(p.now, due)
		p.advance()
		p.work()
	}
	p.now = max(p.now, at)
	p.asleep = false
	p.punctual()
}

// say and note write the transcript.
func (p *player) say(words string) {
	if !p.telling {
		return
	}
	p.lines = append(p.lines, fmt.Sprintf("%16v  %s", p.now.Sub(epoch), words))
}

func (p *player) note() {
	if !p.telling {
		return
	}
	v, t := reflect.ValueOf(p.got), reflect.TypeOf(p.got)
	for i := range t.NumField() {
		switch f := v.Field(i); {
		case f.IsZero():
		case f.Kind() == reflect.Uint8:
			p.lines[len(p.lines)-1] += fmt.Sprintf("; %s: %v", t.Field(i).Name, Reason(f.Uint()))
		default:
			p.lines[len(p.lines)-1] += fmt.Sprintf("; %s: %v", t.Field(i).Name, f)
		}
	}
}

// replay plays steps; what is not "" is wrong. Jitter comes from seed. The transcript
// is only made if it is wanted.
func replay(seed uint64, steps []step, telling bool) (wrong, transcript string) {
	p := newPlayer(seed)
	p.telling = telling
	defer func() {
		transcript = strings.Join(p.lines, "\n")
		switch r := recover().(type) {
		case nil:
		case violation:
			wrong = string(r)
		default:
			wrong = fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	p.link(true)
	for _, s := range steps {
		p.step(s)
	}
	p.wait(p.now.Add(time.Minute))
	return "", ""
}
