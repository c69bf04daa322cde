package sim

import (
	"maps"
	"slices"
	"time"

	"culvert/noise"
)

// Stats are what was seen in one run or several.
type Stats struct {
	Seeds     int
	Virtual   time.Duration
	Packets   int // given to TUNs
	Delivered int // come out of TUNs
	Excused   int // that may be lost, as handshakes of both sides crossed
	Datagrams int
	Sent      map[string]int    // by kind
	Drops     map[string]uint64 // by reason
	Events    map[string]int
}

func newStats() Stats {
	return Stats{Sent: map[string]int{}, Drops: map[string]uint64{}, Events: map[string]int{}}
}

// Add adds those of another run.
func (s *Stats) Add(o *Stats) {
	s.Seeds++
	s.Virtual += o.Virtual
	s.Packets += o.Packets
	s.Delivered += o.Delivered
	s.Excused += o.Excused
	s.Datagrams += o.Datagrams
	for k, n := range o.Sent {
		s.Sent[k] += n
	}
	for k, n := range o.Events {
		s.Events[k] += n
	}
	for k, n := range o.Drops {
		s.Drops[k] += n
	}
}

// tally is what a node was given and what it made of it.
type tally struct {
	injected  int // packets into the TUN
	sent      int // data messages, also those the system refused
	responses int // sent
	sessions  int // begun here and used
	delivered int // packets out of the TUN
	errors    int // ICMP errors out of the TUN

	transports, keepalives, handshakes, cookies, junk int // that arrived; keepalives are among transports
}

func (t *tally) arrived(kind noise.MessageType, size int) {
	switch kind {
	case noise.TypeTransport:
		t.transports++
		if size == noise.KeepaliveSize {
			t.keepalives++
		}
	case noise.TypeInitiation, noise.TypeResponse:
		t.handshakes++
	case noise.TypeCookieReply:
		t.cookies++
	default:
		t.junk++
	}
}

// Reasons by what they are the end of.
var (
	outboundDrops  = []string{"no_peer", "no_endpoint", "interface_down", "routing_loop", "stage_full", "no_session", "out_of_budget", "key_spent"}
	transportDrops = []string{"unknown_index", "key_expired", "bad_tag", "replay", "bad_inner_packet", "source_not_allowed", "ecn_congested", "tun_error"}
	handshakeDrops = []string{"bad_mac1", "handshake_queue_full", "source_over_share", "cookie_needed", "rate_limited", "no_private_key",
		"bad_handshake", "unknown_peer", "old_timestamp", "initiation_too_soon", "stale_handshake"}
)

func sum(drops map[string]uint64, of []string) (n int) {
	for _, r := range of {
		n += int(drops[r])
	}
	return n
}

// checkEnd looks, when the device is closed, whether all it was given was delivered or
// dropped for a reason, and whether all was given back.
func (n *node) checkEnd() {
	w, s, t := n.w, n.dev.Stats(), &n.tally
	if s.Memory != 0 || s.Indices != 0 || n.host.Open() != 0 {
		w.fail(n, "has %d bytes, %d indices and %d ports when it is closed", s.Memory, s.Indices, n.host.Open())
	}
	for _, r := range slices.Sorted(maps.Keys(s.Drops)) {
		w.stats.Drops[r] += s.Drops[r]
	}
	if out := t.sent + sum(s.Drops, outboundDrops); out != t.injected {
		w.fail(n, "was given %d packets: %d were sent, %d dropped: %v", t.injected, t.sent, out-t.sent, nonzero(s.Drops))
	}
	if int(s.Drops["malformed"]) != t.junk {
		w.fail(n, "got %d datagrams that are no messages and dropped %d", t.junk, s.Drops["malformed"])
	}
	// What is left of the transport messages are keepalives. Of what the system lost some
	// may have been ICMP errors.
	over := int(n.tun.Overrun())
	errors := min(over, max(0, int(s.Drops["no_peer"]+s.Drops["no_endpoint"])-t.errors))
	if rest := t.transports - t.delivered - over - sum(s.Drops, transportDrops); rest+errors < 0 || rest > t.keepalives {
		w.fail(n, "got %d transport messages, %d of them keepalives: %d were written, %d dropped: %v",
			t.transports, t.keepalives, t.delivered+over, sum(s.Drops, transportDrops), nonzero(s.Drops))
	}
	if accepted := t.handshakes - sum(s.Drops, handshakeDrops); accepted != t.responses+t.sessions {
		w.fail(n, "got %d handshake messages and dropped %d, but sent %d responses and began %d sessions: %v",
			t.handshakes, sum(s.Drops, handshakeDrops), t.responses, t.sessions, nonzero(s.Drops))
	}
}

func nonzero(drops map[string]uint64) map[string]uint64 {
	some := maps.Clone(drops)
	maps.DeleteFunc(some, func(_ string, n uint64) bool { return n == 0 })
	return some
}
