package session

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestScripts runs testdata/*.txt. A script is a transcript of two peers, a
// and b. Each line is one of (# begins a comment):
//
//	at T DO          go to T (nothing may happen before), then do something
//	expect T EVENT   the next thing that happens is EVENT, at T
//	then T EVENT     likewise, T after the previous event
//	check NODE SLOTS the key slots, named by the initiation that led to them:
//	                 a1 is a's first one
//
// T is a duration or a range of two, 5s..5.333s. Every event must be told. At
// the end of the script nothing may be left that already happened.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for seed := range uint64(5) { // jitter differs
				p := &script{s: newSim(t, seed, seed == 0), file: f, last: epoch}
				for i, line := range strings.Split(string(text), "\n") {
					p.line = i + 1
					line, _, _ = strings.Cut(line, "#")
					if words := strings.Fields(line); len(words) > 0 {
						p.do(words)
					}
				}
				p.quiet(p.s.now)
			}
		})
	}
}

type script struct {
	s    *sim
	file string
	line int
	seen int  // entries of the log that were expected
	last Time // of the last event
}

func (p *script) fatalf(format string, args ...any) {
	p.s.t.Helper()
	p.s.fatalf("%s:%d: "+format, append([]any{p.file, p.line}, args...)...)
}

func (p *script) do(words []string) {
	p.s.t.Helper()
	switch words[0] {
	case "at":
		from, _ := p.span(words[1])
		p.quiet(epoch.Add(from))
		p.act(words[2:])
	case "expect":
		p.expect(epoch, words)
	case "then":
		p.expect(p.last, words)
	case "check":
		want := strings.Join(words[2:], " ")
		if got := p.node(words[1]).slots(); got != want {
			p.fatalf("slots: %s, want %s", got, want)
		}
	default:
		p.fatalf("what is %q?", words[0])
	}
}

// span is a range of durations.
func (p *script) span(word string) (from, to time.Duration) {
	a, b, isRange := strings.Cut(word, "..")
	if !isRange {
		b = a
	}
	from, err := time.ParseDuration(a)
	to, err2 := time.ParseDuration(b)
	if err != nil || err2 != nil {
		p.fatalf("%q is no time", word)
	}
	return from, to
}

// quiet goes to at; nothing may happen but what was expected.
func (p *script) quiet(at Time) {
	p.s.t.Helper()
	for len(p.s.log) == p.seen && p.s.step(at) {
	}
	if len(p.s.log) != p.seen {
		p.fatalf("not expected at %v: %s", p.s.log[p.seen].at.Sub(epoch), p.s.log[p.seen].text)
	}
}

// expect waits for the next event, counted from base.
func (p *script) expect(base Time, words []string) {
	p.s.t.Helper()
	from, to := p.span(words[1])
	want := strings.Join(words[2:], " ")
	for len(p.s.log) == p.seen && p.s.step(base.Add(to)) {
	}
	if len(p.s.log) == p.seen {
		p.fatalf("nothing happened, want %s", want)
	}
	got := p.s.log[p.seen]
	p.seen++
	if got.text != want {
		p.fatalf("got %s, want %s", got.text, want)
	}
	if got.at < base.Add(from) || got.at > base.Add(to) {
		p.fatalf("%s came after %v, want %s", want, got.at.Sub(base), words[1])
	}
	p.last = got.at
}

func (p *script) node(name string) *node {
	for _, n := range p.s.nodes {
		if n.name == name {
			return n
		}
	}
	p.fatalf("who is %q?", name)
	return nil
}

// act does what a script says a peer, its user or the world does.
func (p *script) act(words []string) {
	if words[0] == "wire" {
		p.wire(words[1], strings.Join(words[2:], " "))
		return
	}
	if words[0] == "everyone" { // suspends for T
		d, _ := p.span(words[3])
		p.s.suspend(d)
		return
	}
	n := p.node(words[0])
	switch what := strings.Join(words[1:], " "); what {
	case "sends data":
		n.sendData()
	case "stages data": // before the interface is up
		n.staged++
	case "goes down":
		n.setUp(false)
	case "comes up":
		n.setUp(true)
	case "gets another endpoint for the peer":
		n.endpointChanged()
	case "gets another private key":
		n.exempt = true
		n.call(func(out *Actions) { n.m.Expire(p.s.now, out) })
	case "restarts": // a new daemon: nothing is remembered
		p.restart(n)
	case "replays the last initiation": // the other side's last, to n
		n.receive(n.other.lastSent)
	case "sets its clock back":
		p.s.wallOf -= time.Hour
	default:
		d, err := time.ParseDuration(strings.TrimPrefix(what, "sets persistent keepalive "))
		if err != nil {
			p.fatalf("cannot %q", what)
		}
		n.setPersistent(d)
	}
}

func (p *script) restart(n *node) {
	fresh := newSim(p.s.t, 0, false).nodes[0]
	r := n.m.rand
	n.m, n.act, n.staged = New(r), fresh.act, 0
	n.sendKey, n.keys, n.pending = nil, fresh.keys, fresh.pending
}

// wire: "a->b loses all", "loses nothing", "takes 50ms", "holds", "releases",
// "releases reversed".
func (p *script) wire(which, what string) {
	from, _, _ := strings.Cut(which, "->")
	w := &p.node(from).out
	switch verb, rest, _ := strings.Cut(what, " "); verb {
	case "loses":
		w.lost = rest == "all"
	case "takes":
		w.delay, _ = p.span(rest)
	case "holds":
		w.hold = true
	case "releases":
		w.release(p.s, rest == "reversed")
	default:
		p.fatalf("cannot %s", strconv.Quote(what))
	}
}
