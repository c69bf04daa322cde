package session

import (
	"testing"
	"time"

	"culvert/noise"
)

// FuzzLaws lets two peers do anything, over a wire that does anything. The
// laws are checked at every call (see node.laws, node.advance, node.unchanged,
// node.forget, node.install, node.sendHandshake):
//
//   - after Advance the deadline lies ahead; an early Advance changes nothing;
//   - an error changes nothing;
//   - at most one initiation per REKEY_TIMEOUT, but after a change of endpoint,
//     private key or interface;
//   - no key is used past its limits;
//   - an index is forgotten exactly once and never installed after that;
//   - with a session the next look is at most 10 s ahead;
//
// and at the end, when the world is well again, data gets through both ways.
func FuzzLaws(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 3, 200})
	f.Add([]byte{4, 90, 0, 0, 1, 0, 3, 255, 0, 0, 4, 0, 3, 20})
	f.Add([]byte{5, 25, 3, 250, 6, 3, 3, 10, 7, 0, 3, 1, 8, 1, 3, 99, 9, 0, 10, 2})
	f.Add([]byte{12, 3, 0, 0, 1, 0, 3, 3, 11, 40, 14, 0, 1, 3, 13, 2, 3, 60, 15, 0, 2, 7})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			t.Skip()
		}
		play(t, uint64(len(ops)), false, ops)
	})
}

// TestLaws is FuzzLaws with random worlds; some with real keys.
func TestLaws(t *testing.T) {
	worlds := 1500
	if testing.Short() {
		worlds = 100
	}
	for seed := range uint64(worlds) {
		r := newSim(t, seed, false).rand
		ops := make([]byte, r.IntN(160))
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		play(t, seed, seed%50 == 0, ops)
	}
}

func play(t testing.TB, seed uint64, real bool, ops []byte) {
	s := newSim(t, seed, real)
	for ; len(ops) >= 2; ops = ops[2:] {
		act(s, ops[0], ops[1])
	}
	heal(s)
}

// act does one thing that is told by two bytes.
func act(s *sim, what, how byte) {
	n := s.nodes[how&1]
	how >>= 1
	switch what % 20 {
	case 0, 1:
		n.sendData()
	case 2, 3: // up to 12.7 s
		s.run(s.now.Add(time.Duration(how) * 100 * time.Millisecond))
	case 4: // up to 254 s
		s.run(s.now.Add(time.Duration(how) * 2 * time.Second))
	case 5:
		n.setPersistent(time.Duration(how) * time.Second)
	case 6:
		n.setPersistent(0)
	case 7:
		n.setUp(how&1 == 0)
	case 8:
		n.endpointChanged()
	case 9:
		n.exempt = true
		n.call(func(out *Actions) { n.m.Expire(s.now, out) })
	case 10: // up to 71 min
		s.suspend(time.Duration(how) * time.Duration(how) * time.Second / 4)
	case 11:
		n.out.loss = int(how) % 101
	case 12:
		n.out.delay = time.Duration(how) * time.Duration(how) * time.Millisecond / 2
	case 13:
		n.out.hold = true
	case 14:
		n.out.release(s, how&1 == 0)
	case 15:
		s.wallOf += time.Duration(int8(how<<1)) * time.Minute
	case 16:
		s.built = time.Duration(how%64) * time.Duration(how) * time.Millisecond
	case 17:
		n.early(-time.Duration(how+1) * 50 * time.Millisecond)
	case 18:
		spurious(n, uint32(how))
	case 19:
		if m := n.other.lastSent; m != nil {
			n.receive(m)
		}
	}
}

// spurious calls change nothing.
func spurious(n *node, index uint32) {
	before := n.state()
	var out Actions
	if next := n.keys[index]; next == nil || !next.unconfirmed {
		n.m.Confirmed(n.s.now, index, &out)
	}
	if n.pending[index] == nil {
		err := n.m.Response(n.s.now, index, &noise.Keypair{LocalIndex: index, Initiator: true}, &out)
		if err != ErrStale {
			n.s.fatalf("%s: a response to nothing: %v", n.name, err)
		}
	}
	if out != (Actions{}) || before != n.state() {
		n.s.fatalf("%s: a spurious call changed something", n.name)
	}
}

// heal makes the world well and wants data to get through within some time.
func heal(s *sim) {
	for _, n := range s.nodes {
		n.out.release(s, false)
		n.out = wire{}
		n.setUp(true)
	}
	s.built = 0
	s.run(s.now.Add(time.Minute)) // what was under way is over
	before := [2]int{s.nodes[0].delivered, s.nodes[1].delivered}
	for range 25 { // T3 finds a session that only one side has after 15 s
		for _, n := range s.nodes {
			n.sendData()
		}
		s.run(s.now.Add(time.Second))
	}
	for i, n := range s.nodes {
		if n.delivered-before[i] < 5 || n.staged > 0 {
			s.fatalf("%s got %d packets since the world is well, %d staged", n.name, n.delivered-before[i], n.staged)
		}
	}
}
