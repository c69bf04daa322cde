//go:build linux

package nstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// iperfPort is iperf3's own; every server is alone in its namespace.
const iperfPort = 5201

// Transfer is the outcome of one iperf3 run, as the receiver saw it.
type Transfer struct {
	Bytes    int64   // received
	Back     int64   // received the other way, with --bidir
	Seconds  float64 // the receiver's time
	Packets  int64   // UDP: offered by the sender
	Lost     int64   // UDP: not received
	Sent     int64   // bytes offered by the sender
	Retrans  int64   // TCP segments sent again
	Parallel int     // streams
}

// Gbps is the rate received, both ways together, in 10^9 bits a second.
func (t Transfer) Gbps() float64 {
	if t.Seconds == 0 {
		return 0
	}
	return float64(t.Bytes+t.Back) * 8 / t.Seconds / 1e9
}

// Received is the number of UDP packets that arrived.
func (t Transfer) Received() int64 { return t.Packets - t.Lost }

// LossPercent is the share of UDP packets that did not arrive.
func (t Transfer) LossPercent() float64 {
	if t.Packets == 0 {
		return 100
	}
	return 100 * float64(t.Lost) / float64(t.Packets)
}

// Iperf is an iperf3 run in progress.
type Iperf struct{ client, server *Process }

// StartIperf starts an iperf3 server on one side and a client on the other
// that sends to address; args are the client's further arguments, such as
// "-n", "8M" or "-u" or "-R".
func StartIperf(client, server *NS, address string, args ...string) (*Iperf, error) {
	s, err := server.Start(Command{Args: []string{"iperf3", "-s", "-1", "-p", strconv.Itoa(iperfPort)}})
	if err != nil {
		return nil, err
	}
	if !Eventually(10*time.Second, func() bool { return !s.Alive() || server.Bound("tcp", iperfPort) }) || !s.Alive() {
		return nil, errors.Join(fmt.Errorf("iperf3 server does not listen: %s", s.Stdout()), s.Stop())
	}
	c, err := client.Start(Command{Args: append([]string{"iperf3", "-J", "-p", strconv.Itoa(iperfPort), "-c", address, "--connect-timeout", "5000"}, args...)})
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return &Iperf{c, s}, nil
}

// RunIperf is StartIperf and Wait.
func RunIperf(within time.Duration, client, server *NS, address string, args ...string) (Transfer, error) {
	i, err := StartIperf(client, server, address, args...)
	if err != nil {
		return Transfer{}, err
	}
	return i.Wait(within)
}

// Stop ends both sides.
func (i *Iperf) Stop() error { return errors.Join(i.client.Stop(), i.server.Stop()) }

// Wait waits for the end of the run and reads its outcome. Both sides have
// ended when it returns.
func (i *Iperf) Wait(within time.Duration) (Transfer, error) {
	err := i.client.Wait(within)
	out := i.client.Stdout()
	var reply iperfReply
	if parse := json.Unmarshal([]byte(out), &reply); parse == nil && reply.Error != "" {
		err = errors.New(reply.Error) // the exit status alone says nothing
	} else if err == nil {
		err = parse
	}
	if err != nil {
		return Transfer{}, errors.Join(fmt.Errorf("iperf3: %w", err), i.Stop())
	}
	if err := i.server.Wait(5 * time.Second); err != nil && strings.Contains(err.Error(), "still running") {
		i.server.Stop()
	}
	return reply.transfer(), nil
}

// iperfSum is one of iperf3's sums.
type iperfSum struct {
	Bytes       int64
	Seconds     float64
	Packets     int64
	LostPackets int64 `json:"lost_packets"`
	Retransmits int64
}

// iperfReply is the part of iperf3's JSON that we read.
type iperfReply struct {
	Error string
	End   struct {
		Streams  []any
		Sum      iperfSum // UDP
		Sent     iperfSum `json:"sum_sent"`
		Received iperfSum `json:"sum_received"`
		Back     iperfSum `json:"sum_received_bidir_reverse"`
	}
}

func (r iperfReply) transfer() Transfer {
	e := r.End
	t := Transfer{Bytes: e.Received.Bytes, Back: e.Back.Bytes, Seconds: e.Received.Seconds, Sent: e.Sent.Bytes, Retrans: e.Sent.Retransmits, Parallel: len(e.Streams)}
	if e.Sum.Packets > 0 { // "sum" is the sender's bytes with the receiver's losses
		t.Packets, t.Lost, t.Seconds = e.Sum.Packets, e.Sum.LostPackets, e.Sum.Seconds
		t.Bytes = e.Sum.Bytes / e.Sum.Packets * (e.Sum.Packets - e.Sum.LostPackets)
		t.Sent = e.Sum.Bytes
	}
	return t
}
