package conn

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func refuseFamily(missing family, errno unix.Errno) func(family, uint16, func(syscall.RawConn) error) (*net.UDPConn, error) {
	return func(f family, port uint16, setup func(syscall.RawConn) error) (*net.UDPConn, error) {
		if f == missing {
			return nil, errno
		}
		return listenUDP(f, port, setup)
	}
}

// Neither Send nor Receive allocates, with both families, single datagrams
// and GSO runs, with and without a sticky source and a TOS.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	needLoopback(t, ipv6)
	s := mustListen(t, System(Options{}))
	r4, r6 := receiver(t, s, ipv4), receiver(t, s, ipv6)
	b := NewBatch(16)
	var runs []Run
	data := payload(10_000)
	for _, f := range []family{ipv4, ipv6} {
		to := loopback(f, s.Port())
		plain, sticky := &Endpoint{Remote: to}, &Endpoint{Remote: to, Local: to.Addr(), IfIndex: 1}
		runs = append(runs,
			Run{Data: data[:100], Segment: 100, To: plain},
			Run{Data: data[:5555], Segment: 1000, To: sticky, TOS: 2},
			Run{Data: data[:32], Segment: 32, To: sticky})
	}
	perFamily := 100 + 5555 + 32
	receive := func(r Receiver) {
		for n := 0; n < perFamily; {
			if err := r.Receive(b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Messages {
				n += len(b.Messages[i].Data)
			}
		}
	}
	allocs := testing.AllocsPerRun(200, func() {
		s.Send(runs)
		receive(r4)
		receive(r6)
	})
	for i, r := range runs {
		if r.Err != nil || r.SourceLost {
			t.Errorf("run %d: %v, source lost %v", i, r.Err, r.SourceLost)
		}
	}
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// A receiver keeps no pointer into the memory of a batch that is gone.
func TestFreedBatchIsForgotten(t *testing.T) {
	s := mustListen(t, System(Options{}))
	r, b := receiver(t, s, ipv4), NewBatch(2)
	s.Send([]Run{{Data: payload(10), Segment: 10, To: &Endpoint{Remote: loopback(ipv4, s.Port())}}})
	if err := r.Receive(b); err != nil || len(b.Messages) != 1 {
		t.Fatal(err, len(b.Messages))
	}
	st := b.state.(*receiveState)
	if st.iovs[0].Base == nil {
		t.Fatal("the test tests nothing")
	}
	b.Free()
	for i := range st.iovs {
		if st.iovs[i].Base != nil {
			t.Errorf("slot %d is still pointed to", i)
		}
	}
}
