package device

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
)

// star is a host with a session with each of several others.
type star struct {
	lan  *lan
	a    *host
	rest []*host
}

func newStar(t *testing.T, n int, opts Options) *star {
	s := &star{lan: newLAN(t)}
	s.lan.quiet = true
	s.a = newHost(t, s.lan, 1, opts)
	for i := range n {
		h := newHost(t, s.lan, byte(i+2), opts)
		h.knows(s.a)
		s.a.knows(h)
		s.rest = append(s.rest, h)
		x := s.a.packet4(h, "hello")
		s.a.send(x)
		h.wantReceived(x)
	}
	return s
}

// within fails the test if more memory is held than there may be.
func (h *host) within() {
	h.t.Helper()
	for _, b := range []*budget{&h.d.budget, &h.d.stageBudget} {
		if used := b.used.Load(); used > b.limit {
			h.t.Fatalf("%s: %d bytes are held of %d", h.name, used, b.limit)
		}
	}
}

// lost is what h lost, by reason.
func (h *host) lost() (n int) {
	for r := notDropped; r < numReasons; r++ {
		n += int(h.drops(r))
	}
	return n
}

// Whatever is stuck (the network, the interface, handshakes) and however much
// comes, with the least budget there is: no more memory is held than the budget
// has, all memory is given back in the end (host.close looks), and packets arrive in
// order, every one: a reader that is out of memory waits for those that use it. Only
// what waits for keys can be too much, and is counted.
func TestBudgetHolds(t *testing.T) {
	const each = 1000 // packets to and from each of three hosts
	for name, stick := range map[string]func(s *star) (free func()){
		"nothing": func(*star) func() { return func() {} },
		"network": func(s *star) func() { g := s.a.gate(); return func() { close(g.open) } },
		"interface": func(s *star) func() {
			stuck := make(chan struct{})
			s.a.tun.FailWrites(func([]byte) error { <-stuck; return nil })
			return func() { close(stuck) }
		},
		"handshakes": func(s *star) func() { // nobody answers, and nobody has a session
			s.lan.setFate(lossOf(everything))
			s.a.configure(&config.Update{ReplacePeers: true})
			s.a.knows(s.rest...)
			return func() { sleep(2 * time.Minute) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, opts Options) {
				opts.Budget = MinBudget
				s := newStar(t, 3, opts)
				base := s.a.lost()
				free := stick(s)
				send := func(from, to *host, i int) {
					from.send(from.packet4(to, fmt.Sprintf("%5d", i)+strings.Repeat("x", i*37%1300)))
				}
				for i := range each {
					for _, h := range s.rest {
						send(s.a, h, i)
						send(h, s.a, i)
					}
					if i%50 == 0 {
						synctest.Wait()
					}
					s.a.within()
					s.rest[0].within()
				}
				free()
				synctest.Wait()
				s.a.within()
				out := 0
				for _, h := range s.rest {
					out += inOrder(t, h, 1)
				}
				in := inOrder(t, s.a, len(s.rest))
				if name == "handshakes" {
					if got := s.a.drops(DropStageFull) + s.a.drops(DropNoSession); got != 3*each {
						t.Errorf("%d packets were sent, %s", 3*each, s.a.allDrops())
					}
				} else if out != 3*each || in != 3*each || s.a.lost() != base {
					t.Errorf("of %d packets %d went out, %d came in; %s", 3*each, out, in, s.a.allDrops())
				}
			})
		})
	}
}

// inOrder counts what h received from some hosts, and fails the test if it is
// not in the order it was sent.
func inOrder(t *testing.T, h *host, from int) int {
	t.Helper()
	last, all := map[netip.Addr]int{}, h.received()
	for _, p := range all {
		var n int
		if _, err := fmt.Sscanf(string(p[28:33]), "%d", &n); err != nil {
			t.Fatal(err)
		}
		src := netip.AddrFrom4([4]byte(p[12:16]))
		if before, ok := last[src]; ok && n <= before {
			t.Fatalf("%s: packet %d after %d", h.name, n, before)
		}
		last[src] = n
	}
	if len(last) != from && len(all) > 0 {
		t.Errorf("%s: packets from %d hosts, not %d", h.name, len(last), from)
	}
	return len(all)
}
