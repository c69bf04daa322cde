package conn

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// networks are the implementations that must all behave alike.
var networks = []struct {
	name string
	net  Network
}{
	{"System", System(Options{})},
	{"Portable", Portable()},
}

func mustListen(t testing.TB, n Network) Sockets {
	t.Helper()
	s, err := n.Listen(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// needLoopback skips the test where the loopback interface has no address of the
// family: sockets there are all the same where IPv6 is off for each interface, as
// in many containers.
func needLoopback(t testing.TB, f family) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback(f, 0)))
	if err != nil {
		t.Skipf("need %v on the loopback interface: %v", f, err)
	}
	c.Close()
}

// receiver returns the receiver of one family; both families must be there.
func receiver(t testing.TB, s Sockets, f family) Receiver {
	t.Helper()
	rs := s.Receivers()
	if len(rs) != 2 {
		t.Skipf("need IPv4 and IPv6 on this machine, have %d sockets", len(rs))
	}
	if f == ipv4 {
		return rs[0]
	}
	return rs[1]
}

func loopback(f family, port uint16) netip.AddrPort {
	if f == ipv4 {
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), port)
}

// payload makes n bytes that differ from place to place.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// collect receives until it has n bytes and returns them with the first
// message's description.
func collect(t testing.TB, r Receiver, b *Batch, n int) (data []byte, first Message) {
	t.Helper()
	for len(data) < n {
		if err := r.Receive(b); err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Messages {
			if data == nil {
				first = m
			}
			data = append(data, m.Data...)
		}
	}
	return data, first
}

func TestRoundTrip(t *testing.T) {
	for _, n := range networks {
		for _, f := range []family{ipv4, ipv6} {
			t.Run(n.name+"/"+f.String(), func(t *testing.T) {
				needLoopback(t, f)
				a, b := mustListen(t, n.net), mustListen(t, n.net)
				ra, rb := receiver(t, a, f), receiver(t, b, f)
				batch := NewBatch(8)

				want := payload(10*1000 + 77)
				run := []Run{{Data: want, Segment: 1000, To: &Endpoint{Remote: loopback(f, b.Port())}}}
				a.Send(run)
				if run[0].Err != nil {
					t.Fatal(run[0].Err)
				}
				got, m := collect(t, rb, batch, len(want))
				if !bytes.Equal(got, want) {
					t.Fatal("data differs")
				}
				if m.Segment != 1000 {
					t.Errorf("segment = %d, want 1000", m.Segment)
				}
				if m.Remote != loopback(f, a.Port()) || m.Local != loopback(f, 0).Addr() {
					t.Errorf("from %v to %v", m.Remote, m.Local)
				}

				// Answer from the address asked.
				answer := []Run{{Data: []byte("answer"), Segment: 6, To: m.Endpoint()}}
				b.Send(answer)
				if answer[0].Err != nil || answer[0].SourceLost {
					t.Fatalf("err %v, source lost %v", answer[0].Err, answer[0].SourceLost)
				}
				if got, _ := collect(t, ra, batch, 6); string(got) != "answer" {
					t.Fatalf("got %q", got)
				}
			})
		}
	}
}

func TestCloseEndsReceiveAndSend(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			s := mustListen(t, n.net)
			ended := make(chan error)
			rs := s.Receivers()
			for _, r := range rs {
				go func() { ended <- r.Receive(NewBatch(1)) }()
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for range rs {
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("receive: %v", err)
				}
			}
			run := []Run{{Data: []byte("x"), To: &Endpoint{Remote: loopback(ipv4, 9)}}}
			s.Send(run)
			if !errors.Is(run[0].Err, net.ErrClosed) {
				t.Errorf("send: %v", run[0].Err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			s := mustListen(t, n.net)
			if _, err := n.net.Listen(s.Port(), 0); !errors.Is(err, errAddrInUse) {
				t.Fatalf("err = %v, want address in use", err)
			}
		})
	}
}

// Many goroutines send while the sockets are closed under them: each run ends
// with no error or net.ErrClosed.
func TestConcurrentSendAndClose(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			s := mustListen(t, n.net)
			var wg sync.WaitGroup
			started := make(chan struct{}, 4)
			for range 4 {
				wg.Go(func() {
					data := payload(3000)
					for first := true; ; first = false {
						runs := []Run{
							{Data: data, Segment: 1000, To: &Endpoint{Remote: loopback(ipv4, s.Port())}},
							{Data: data[:10], To: &Endpoint{Remote: loopback(ipv6, s.Port()), Local: loopback(ipv6, 0).Addr()}},
						}
						s.Send(runs)
						if first {
							started <- struct{}{}
						}
						for _, r := range runs {
							if errors.Is(r.Err, net.ErrClosed) {
								return
							}
						}
					}
				})
			}
			for range 4 {
				<-started
			}
			if err := s.SetMark(0); err != nil {
				t.Error(err)
			}
			s.Close()
			wg.Wait()
		})
	}
}
