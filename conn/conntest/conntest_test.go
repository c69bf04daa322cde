package conntest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/conn"
)

var (
	addrA  = netip.MustParseAddr("192.0.2.1")
	addrB  = netip.MustParseAddr("192.0.2.2")
	addrB2 = netip.MustParseAddr("192.0.2.22")
	addrA6 = netip.MustParseAddr("2001:db8::1")
	addrB6 = netip.MustParseAddr("2001:db8::2")
)

// bench is two hosts with a socket each.
type bench struct {
	t            *testing.T
	net          *Network
	a, b         *Host
	sockA, sockB conn.Sockets
}

func newBench(t *testing.T, seed uint64) *bench {
	n := NewNetwork(seed)
	x := &bench{t: t, net: n, a: n.Host(addrA, addrA6), b: n.Host(addrB, addrB6)}
	x.sockA, x.sockB = x.listen(x.a), x.listen(x.b)
	return x
}

func (x *bench) listen(h *Host) conn.Sockets {
	s, err := h.Listen(51820, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// send sends numbered datagrams from a to b.
func (x *bench) send(from, to int) {
	for i := from; i < to; i++ {
		x.sendRun(conn.Run{Data: fmt.Appendf(nil, "%04d", i), Segment: 4})
	}
}

func (x *bench) sendRun(r conn.Run) conn.Run {
	if r.To == nil {
		r.To = &conn.Endpoint{Remote: netip.AddrPortFrom(addrB, 51820)}
	}
	runs := []conn.Run{r}
	x.sockA.Send(runs)
	return runs[0]
}

// queued is what lies in b's IPv4 queue.
func (x *bench) queued() []conn.Message {
	r := x.sockB.Receivers()[0].(*receiver)
	x.net.mu.Lock()
	waiting := len(r.queue)
	x.net.mu.Unlock()
	if waiting == 0 {
		return nil
	}
	b := conn.NewBatch(waiting)
	if err := r.Receive(b); err != nil {
		x.t.Fatal(err)
	}
	return b.Messages
}

func text(ms []conn.Message) (s []string) {
	for _, m := range ms {
		s = append(s, string(m.Data))
	}
	return s
}

func TestSynchronousWithoutDelay(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	x.send(0, 3)
	ms := x.queued()
	if got, want := text(ms), []string{"0000", "0001", "0002"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	m := ms[0]
	if m.Remote != netip.AddrPortFrom(addrA, 51820) || m.Local != addrB || m.Segment != 4 {
		t.Errorf("message %+v", m)
	}
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBench(t, 1)
		defer x.net.Close()
		x.net.SetLink(x.a, x.b, Link{Delay: time.Second})
		x.send(0, 50)
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if ms := x.queued(); len(ms) != 0 {
			t.Fatalf("%d arrived early", len(ms))
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		got := text(x.queued())
		if len(got) != 50 || !slices.IsSorted(got) {
			t.Fatalf("got %v", got)
		}
	})
}

func TestBlockedReceiveIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBench(t, 1)
		x.net.SetLink(x.a, x.b, Link{Delay: time.Hour})
		var got []string
		go func() {
			b := conn.NewBatch(4)
			for x.sockB.Receivers()[0].Receive(b) == nil {
				got = append(got, text(b.Messages)...)
			}
			got = append(got, "closed")
		}()
		x.send(7, 8)
		time.Sleep(2 * time.Hour) // passes only if everything else is blocked
		x.net.Close()
		synctest.Wait()
		if !slices.Equal(got, []string{"0007", "closed"}) {
			t.Fatalf("got %v", got)
		}
	})
}

// everything is a link that does all it can.
var everything = Link{
	Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: .1, Duplicate: .1,
	Corrupt: .1, Reorder: .1, ReorderBy: 20 * time.Millisecond, CE: .2,
}

func TestSameSeedSameFate(t *testing.T) {
	fate := func(seed uint64) (got []string, c Counters) {
		synctest.Test(t, func(t *testing.T) {
			x := newBench(t, seed)
			defer x.net.Close()
			x.net.SetDefaultLink(everything)
			for i := range 500 {
				x.sendRun(conn.Run{Data: fmt.Appendf(nil, "%04d", i), Segment: 4, TOS: 2})
			}
			time.Sleep(time.Second)
			synctest.Wait()
			got, c = text(x.queued()), x.net.Counters()
		})
		return got, c
	}
	got, c := fate(1)
	again, c2 := fate(1)
	if !slices.Equal(got, again) || c != c2 {
		t.Error("the same seed had two outcomes")
	}
	if other, _ := fate(2); slices.Equal(got, other) {
		t.Error("another seed had the same outcome")
	}
	if slices.IsSorted(got) {
		t.Error("nothing was reordered")
	}
	for _, n := range []uint64{c.Lost, c.Duplicated, c.Corrupted, c.Reordered, c.Marked} {
		if n < 20 || n > 150 {
			t.Errorf("unlikely counters %+v", c)
		}
	}
	if c.Sent != 500 || c.Delivered != c.Sent-c.Lost+c.Duplicated || int(c.Delivered) != len(got) {
		t.Errorf("counters do not add up: %+v, got %d", c, len(got))
	}
}

func TestCEMarksOnlyECT(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	x.net.SetLink(x.a, x.b, Link{CE: 1})
	for _, tos := range []byte{0x88, 0x8a, 0x89, 0x8b} {
		x.sendRun(conn.Run{Data: []byte("x"), TOS: tos})
	}
	var got []byte
	for _, m := range x.queued() {
		got = append(got, m.TOS)
	}
	if want := []byte{0x88, 0x8b, 0x8b, 0x8b}; !slices.Equal(got, want) {
		t.Errorf("TOS %x, want %x", got, want)
	}
}

func TestPartitionAndHeal(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	x.net.Partition(x.a, x.b)
	x.send(0, 2)
	x.net.Heal(x.a, x.b)
	x.send(2, 3)
	if got := text(x.queued()); !slices.Equal(got, []string{"0002"}) {
		t.Errorf("got %v", got)
	}
	if c := x.net.Counters(); c.Blocked != 2 {
		t.Errorf("%+v", c)
	}
}

func TestMoveLosesSourceAndOldAddress(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	x.send(0, 1)
	toA := x.queued()[0].Endpoint()
	x.b.Move(addrB2, addrB6)
	answer := []conn.Run{{Data: []byte("a"), To: toA}}
	x.sockB.Send(answer)
	if answer[0].Err != nil || !answer[0].SourceLost {
		t.Errorf("after a move: %+v", answer[0])
	}
	b := conn.NewBatch(1)
	if err := x.sockA.Receivers()[0].Receive(b); err != nil || b.Messages[0].Remote.Addr() != addrB2 {
		t.Errorf("answer from %v, %v", b.Messages[0].Remote, err)
	}
	x.send(1, 2)
	if c := x.net.Counters(); c.Unreachable != 1 {
		t.Errorf("old address: %+v", c)
	}
}

func TestMerge(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	x.net.SetGRO(true)
	x.sendRun(conn.Run{Data: []byte("aaaabbbbcc"), Segment: 4})
	x.sendRun(conn.Run{Data: []byte("dddd")})
	x.sendRun(conn.Run{Data: []byte("eeee"), TOS: 1})
	var got []string
	for _, m := range x.queued() {
		got = append(got, fmt.Sprintf("%s/%d", m.Data, m.Segment))
	}
	if want := []string{"aaaabbbbcc/4", "dddd/4", "eeee/4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFamilies(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	to6 := &conn.Endpoint{Remote: netip.AddrPortFrom(addrB6, 51820)}
	if r := x.sendRun(conn.Run{Data: []byte("six"), To: to6}); r.Err != nil {
		t.Fatal(r.Err)
	}
	b := conn.NewBatch(1)
	if err := x.sockB.Receivers()[1].Receive(b); err != nil || b.Messages[0].Remote.Addr() != addrA6 {
		t.Fatal(err, b.Messages)
	}
	only4 := x.net.Host(addrB2)
	s := x.listen(only4)
	runs := []conn.Run{{Data: []byte("x"), To: to6}}
	if s.Send(runs); len(s.Receivers()) != 1 || runs[0].Err != conn.ErrNoFamily || s.(conn.Partial).Lacks() {
		t.Errorf("receivers %d, err %v", len(s.Receivers()), runs[0].Err)
	}
	if only4.Move(addrB2, netip.MustParseAddr("2001:db8::22")); !s.(conn.Partial).Lacks() {
		t.Error("a family that came is not lacking")
	}
	s.Close()
	if s = x.listen(only4); s.(conn.Partial).Lacks() || len(s.Receivers()) != 2 {
		t.Error("a new socket lacks the family that came")
	}
}

func TestFaultsAndBounds(t *testing.T) {
	x := newBench(t, 1)
	x.net.SetQueue(2)
	x.a.FailSends(1, syscall.EPERM)
	if r := x.sendRun(conn.Run{Data: []byte("x")}); r.Err != syscall.EPERM {
		t.Errorf("err %v", r.Err)
	}
	if x.b.BreakReceivers(syscall.EBADF); x.sockB.Receivers()[0].Receive(conn.NewBatch(1)) != syscall.EBADF {
		t.Error("a broken receiver receives")
	}
	x.b.BreakReceivers(nil)
	x.send(0, 5)
	if c := x.net.Counters(); c.QueueFull != 3 || len(x.queued()) != 2 {
		t.Errorf("%+v", c)
	}
	if _, err := x.a.Listen(51820, 0); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("taken port: %v", err)
	}
	x.net.Close()
	if r := x.sendRun(conn.Run{Data: []byte("x")}); r.Err != net.ErrClosed {
		t.Errorf("after close: %v", r.Err)
	}
}

// A network that holds has nothing arrive but what the test lets; what was refused
// is told as well.
func TestHold(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	calls := 0
	x.net.Hold(func() { calls++ })
	x.send(0, 2)
	x.a.Refuse(func(to netip.AddrPort) error { return syscall.EPERM })
	if r := x.sendRun(conn.Run{Data: []byte("refused")}); r.Err != syscall.EPERM {
		t.Errorf("err %v", r.Err)
	}
	if len(x.queued()) != 0 || calls != 3 {
		t.Errorf("something arrived by itself, or %d calls", calls)
	}
	held := x.net.Take()
	var got []string
	for _, d := range held {
		got = append(got, fmt.Sprintf("%s %v %v", d.Data, d.To.Addr() == addrB && d.From.Addr() == addrA && d.Host == x.a, d.Err))
	}
	if want := []string{"0000 true <nil>", "0001 true <nil>", "refused true operation not permitted"}; !slices.Equal(got, want) {
		t.Fatalf("held %q", got)
	}
	held[0].To = netip.AddrPortFrom(addrB2, 51820)
	x.net.SetQueue(1)
	if arrived := x.net.Deliver(held...); !slices.Equal(arrived, []bool{false, true, false}) {
		t.Errorf("arrived: %v", arrived)
	}
	if got := text(x.queued()); !slices.Equal(got, []string{"0001"}) || len(x.net.Take()) != 0 || x.a.Open() != 1 {
		t.Errorf("got %v", got)
	}
}

// Split sockets have a receiver for each lane of each family.
func TestLanes(t *testing.T) {
	x := newBench(t, 1)
	defer x.net.Close()
	s, err := x.b.ListenSplit(7, 0, &conn.Main{Header: [4]byte{4}, Least: 9})
	if err != nil {
		t.Fatal(err)
	}
	lanes := func(want ...int) { // datagrams of each
		t.Helper()
		x.sendRun(conn.Run{Data: []byte("\x04\x00\x00\x00tag!.\x04\x00\x00\x00tag?.\x04\x00\x00\x01tag!.\x04\x00\x00\x00tag!"), Segment: 9,
			To: &conn.Endpoint{Remote: netip.AddrPortFrom(addrB, 7)}})
		got := make([]int, 3)
		for _, r := range s.Receivers() {
			r := r.(*receiver)
			got[r.Lane()] += len(r.queue)
			r.queue = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("lanes have %v, want %v", got, want)
		}
	}
	if n := len(s.Receivers()); n != 6 {
		t.Errorf("%d receivers", n)
	}
	lanes(2, 0, 2)
	prefer := s.(conn.Preferring).Prefer
	if err := prefer([]conn.Label{conn.Label([]byte("tag!"))}); err != nil {
		t.Fatal(err)
	}
	lanes(1, 1, 2)
	if prefer(nil) != nil {
		t.Error("no way back")
	}
	lanes(2, 0, 2)
	s.Close()
	if err := prefer(nil); err != net.ErrClosed {
		t.Error(err)
	}
	if err := x.sockB.(conn.Preferring).Prefer(nil); err != errors.ErrUnsupported {
		t.Error(err)
	}
}
