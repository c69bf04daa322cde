package sim

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/noise"
)

// Every rule can fail: what devices do is made to look wrong, and the run says so.
func TestFaultsAreFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults func() faults
		want   string
	}{
		{"a packet twice", func() faults { return written(100, func(b []byte) [][]byte { return [][]byte{b, b} }) }, "a second time"},
		{"a packet changed", func() faults {
			return written(100, func(b []byte) [][]byte { b[len(b)-1] ^= 4; return [][]byte{b} })
		}, "that nobody sent like that"},
		{"a packet lost", func() faults { return written(100, func([]byte) [][]byte { return nil }) }, "has not arrived"},
		{"packets out of order", outOfOrder, "the network has kept the order"},
		{"a packet elsewhere", elsewhere, "which was not for it"},
		{"a counter twice", func() faults {
			return also(noise.TypeTransport, func(s *sent) *sent { c := *s; return &c })
		}, "a second time"},
		{"a counter far ahead", func() faults {
			return also(noise.TypeTransport, func(s *sent) *sent { return s.altered(func(b []byte) { b[14]++ }) })
		}, "sends counter"},
		{"an initiation at once again", func() faults {
			return also(noise.TypeInitiation, func(s *sent) *sent { c := *s; return &c })
		}, "REKEY_TIMEOUT"},
		{"a response twice", func() faults {
			return also(noise.TypeResponse, func(s *sent) *sent { c := *s; return &c })
		}, "twice"},
		{"a keepalive that nothing asks for", func() faults {
			return also(noise.TypeTransport, func(s *sent) *sent {
				c := s.altered(func(b []byte) { binary.LittleEndian.PutUint64(b[8:], counterOf(b)+1000) })
				c.Data = c.Data[:noise.KeepaliveSize]
				return c
			})
		}, "a keepalive that is not due"},
		{"sent to a stranger", func() faults {
			return also(noise.TypeTransport, func(s *sent) *sent {
				c := s.altered(func(b []byte) { binary.LittleEndian.PutUint64(b[8:], counterOf(b)+1000) })
				c.To = stranger
				return c
			})
		}, "has never been"},
		{"an index of nobody", func() faults {
			return also(noise.TypeTransport, func(s *sent) *sent { return s.altered(func(b []byte) { b[4] ^= 1 }) })
		}, "of no session"},
		{"no keepalives", func() faults {
			return without(func(s *sent) bool {
				return s.kind == noise.TypeTransport && len(s.Data) == noise.KeepaliveSize && counterOf(s.Data) > 0
			})
		}, "has sent no keepalive (T2)"},
		{"silence", func() faults {
			return without(func(s *sent) bool { return s.from.w.now() > 20*time.Second })
		}, "(T5)"},
		{"no handshake that is missing a reply", func() faults {
			return without(func(s *sent) bool { return s.kind != noise.TypeTransport && s.from.w.now() > 20*time.Second })
		}, "(T3)"},
		{"no renewal", func() faults {
			return without(func(s *sent) bool { return s.kind != noise.TypeTransport && s.from.w.now() > s.from.w.plan.calm })
		}, "has not renewed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for seed := uint64(1); seed < 40; seed++ {
				r := Run(t, Config{Seed: seed, Nodes: 3, faults: c.faults()})
				if strings.Contains(r.Failure, c.want) {
					return
				}
				got = append(got, r.Failure)
			}
			slices.Sort(got)
			t.Errorf("not found; instead: %q", slices.Compact(got))
		})
	}
}

// altered is a copy of s with other bytes.
func (s *sent) altered(alter func(b []byte)) *sent {
	c := *s
	c.Data = slices.Clone(s.Data)
	alter(c.Data)
	return &c
}

// written does something to one packet that comes out, every so many, when all is well.
func written(every int, do func(b []byte) [][]byte) faults {
	n := 0
	return faults{writes: func(to *node, b []byte) [][]byte {
		if _, _, ours := to.w.identify(b); to.w.now() < to.w.plan.calm || !ours {
			return [][]byte{b}
		}
		if n++; n%every == 0 {
			return do(b)
		}
		return [][]byte{b}
	}}
}

// outOfOrder holds a packet back until the next one of its flow.
func outOfOrder() faults {
	var held []byte
	var of *flow
	return faults{writes: func(to *node, b []byte) [][]byte {
		f, _, _ := to.w.identify(b)
		switch {
		case f == nil || to.w.now() < to.w.plan.calm:
		case held == nil:
			held, of = b, f
			return nil
		case f == of:
			both := [][]byte{b, held}
			held, of = nil, nil
			return both
		}
		return [][]byte{b}
	}}
}

// elsewhere has a packet come out at another node, which is a peer of its sender as well.
func elsewhere() faults {
	var held []byte
	var from, to *node
	return faults{writes: func(n *node, b []byte) [][]byte {
		f, _, _ := n.w.identify(b)
		switch {
		case f == nil:
		case held == nil:
			held, from, to = b, f.from, f.to
			return nil
		case n != to && n != from && n.peerOf(from) != nil:
			all := [][]byte{held, b}
			held = nil
			return all
		}
		return [][]byte{b}
	}}
}

// also has one more datagram sent with every tenth of a kind.
func also(kind noise.MessageType, more func(s *sent) *sent) faults {
	n := 0
	return faults{sends: func(all []*sent) []*sent {
		for _, s := range all {
			if s.kind != kind {
				continue
			}
			if n++; n%10 == 0 {
				all = append(all, more(s))
			}
		}
		return all
	}}
}

// without has some datagrams not sent.
func without(what func(s *sent) bool) faults {
	return faults{sends: func(all []*sent) []*sent { return slices.DeleteFunc(all, what) }}
}

// A run that fails does so again in the same way, and with fewer events.
func TestFailureReplaysAndShrinks(t *testing.T) {
	c := Config{Seed: 3, Nodes: 3}
	run := func() Result {
		c.faults = also(noise.TypeTransport, func(s *sent) *sent { c := *s; return &c })
		return Run(t, c)
	}
	a, b := run(), run()
	if a.Failure == "" || a.Failure != b.Failure || !slices.Equal(a.Transcript, b.Transcript) {
		t.Fatalf("%q and then %q", a.Failure, b.Failure)
	}
	c.faults = faults{sends: func(all []*sent) []*sent { // the same however often it is run
		for _, s := range all {
			if s.kind == noise.TypeTransport && counterOf(s.Data) == 7 {
				all = append(all, s.altered(func([]byte) {}))
			}
		}
		return all
	}}
	small, r := Shrink(t, c, a.Events, 3*time.Second)
	if r.Failure == "" || len(small.Without) < a.Events/4 || !strings.Contains(tail(r.Transcript, 3), "FAILED") {
		t.Errorf("%d of %d events left out: %q", len(small.Without), a.Events, r.Failure)
	}
}
