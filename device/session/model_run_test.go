package session

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestModel plays random sequences: the same ones each time, and half as many
// fresh ones. What fails is told as a transcript, made as short as can be.
func TestModel(t *testing.T) {
	sequences := uint64(1000)
	if testing.Short() {
		sequences = 300
	}
	for seed := range sequences {
		playModel(t, seed, randomSteps(seed))
	}
	fresh := new(maphash.Hash).Sum64() // another one in each process
	for seed := fresh; seed != fresh+sequences/2; seed++ {
		playModel(t, seed, randomSteps(seed))
	}
}

// FuzzModel takes the sequence from the fuzzer, and the seed of jitter.
func FuzzModel(f *testing.F) {
	for seed := range uint64(len(weights)) {
		f.Add(seed, bytesOf(randomSteps(seed)))
	}
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		var steps []step
		for ; len(raw) > 1 && len(steps) < 300; raw = raw[2:] {
			steps = append(steps, step{raw[0], raw[1]})
		}
		playModel(t, seed, steps)
	})
}

// playModel fails with the shortest transcript it finds.
func playModel(t *testing.T, seed uint64, steps []step) {
	t.Helper()
	if wrong, _ := replay(seed, steps, false); wrong == "" {
		return
	}
	steps = shrink(steps, func(fewer []step) bool {
		wrong, _ := replay(seed, fewer, false)
		return wrong != ""
	})
	wrong, transcript := replay(seed, steps, true)
	t.Fatalf("%s\n\nTranscript:\n%s\n\nTo play it again: seed %d, FuzzModel bytes %q", wrong, transcript, seed, bytesOf(steps))
}

// shrink drops steps while it still fails: half of them at once, then fewer.
func shrink(steps []step, fails func([]step) bool) []step {
	for n := max(1, len(steps)/2); ; {
		smaller := false
		for i := 0; i+n <= len(steps); {
			fewer := slices.Concat(steps[:i], steps[i+n:])
			if fails(fewer) {
				steps, smaller = fewer, true
			} else {
				i += n
			}
		}
		switch {
		case n > 1:
			n /= 2
		case !smaller:
			return steps
		}
	}
}

func bytesOf(steps []step) (b []byte) {
	for _, s := range steps {
		b = append(b, s.what, s.how)
	}
	return b
}

// weights say how often each action is in a sequence, by its number: worlds in
// which all goes well, nobody answers, the other side begins, all is odd.
var weights = [...][len(actions)]int{
	{4, 4, 8, 10, 10, 2, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 4},
	{4, 6, 10, 6, 0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 2, 1, 0, 10},
	{4, 4, 8, 6, 10, 10, 1, 1, 2, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 4},
	{2, 3, 8, 6, 8, 5, 6, 1, 4, 1, 1, 2, 2, 2, 2, 2, 2, 3, 1, 6},
}

func randomSteps(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 1))
	var wheel []byte
	for what, n := range weights[seed%uint64(len(weights))] {
		for range n {
			wheel = append(wheel, byte(what))
		}
	}
	steps := make([]step, 20+r.IntN(150))
	for i := range steps {
		steps[i] = step{wheel[r.IntN(len(wheel))], byte(r.Uint32())}
	}
	return steps
}

// TestShrink: what is left of a sequence that fails is what it fails for.
func TestShrink(t *testing.T) {
	steps := randomSteps(7)
	one, two := step{200, 1}, step{200, 2}
	steps = slices.Concat(steps[:5], []step{one}, steps[5:15], []step{two}, steps[15:])
	got := shrink(steps, func(fewer []step) bool {
		i := slices.Index(fewer, one)
		return i >= 0 && slices.Contains(fewer[i:], two)
	})
	if !slices.Equal(got, []step{one, two}) {
		t.Errorf("%v is left, want %v and %v", got, one, two)
	}
}

// Corners that random sequences come by too rarely.
func TestModelCorners(t *testing.T) {
	for name, play := range map[string]func(p *player){
		"a key that dies before it is confirmed": func(p *player) {
			p.step(step{5, 2}) // an initiation comes
			p.now, p.asleep = p.now.Add(specReject), true
			p.spurious(29) // Confirmed of the last index
		},
		"giving up while a keepalive is owed": func(p *player) {
			p.step(step{5, 2})
			p.arrive(7) // a keepalive on the last index confirms the session
			p.need(ConfigChanged)
			for p.work(); p.models[0].retries+1 < specTries; {
				p.wait(p.now.Add(time.Second))
			}
			p.arrive(4) // data on the index before that of the initiation
			if p.models[0].t2 != p.now {
				p.failf("nothing is owed")
			}
			p.now, p.asleep = p.now.Add(specKeepalive), true
			p.wait(p.now)
			if p.got.note != GaveUp {
				p.failf("nothing was given up")
			}
		},
	} {
		p := newPlayer(1)
		p.telling = true
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: %v\n%s", name, r, strings.Join(p.lines, "\n"))
				}
			}()
			p.link(true)
			play(p)
		}()
	}
}
