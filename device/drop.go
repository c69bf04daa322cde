package device

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"culvert/internal/clock"
)

// Reason names why a packet was dropped. Every drop has one, and a counter.
type Reason uint8

// The reasons, by where they are found.
const (
	notDropped Reason = iota

	// Outbound: packets read from the TUN.
	DropNoPeer     // no allowed IP holds the destination
	DropNoEndpoint // the peer's address is not known
	DropDown       // the interface has no sockets
	DropLoop       // a packet of our own that is routed into its own tunnel
	DropStageFull  // the oldest of 128 staged packets, or the budget for them is used up
	DropNoSession  // staged, and the handshake was given up or the peer cleared
	DropBudget     // the byte budget is used up
	DropKeySpent   // the key reached its limits between reading and sealing
	DropSendError  // the system refused to send

	// Inbound: datagrams.
	DropMalformed    // not a WireGuard message by type and length
	DropBadMAC1      // not made for our public key
	DropHandshakes   // the handshake queue is full
	DropCrowded      // more handshake messages of one source than its share, as it floods or under load
	DropCookieNeeded // under load and mac2 absent or bad; a cookie reply went out
	DropRateLimited  // under load and the source's bucket is empty
	DropNoPrivateKey // nothing can be answered
	DropBadHandshake // did not authenticate
	DropUnknownPeer  // a handshake of a stranger
	DropOldTimestamp // an initiation replayed, or the peer's clock went back
	DropTooSoon      // a second initiation within 20 ms
	DropStale        // of a handshake that is over, or made for a key we no longer have
	DropBadCookie    // a cookie reply that answers nothing
	DropUnknownIndex // no session with that receiver index
	DropKeyExpired   // older than REJECT_AFTER_TIME or beyond REJECT_AFTER_MESSAGES
	DropBadTag       // did not authenticate
	DropReplay       // seen before, or behind the replay window
	DropBadInner     // the inner packet is no IP packet or is cut short
	DropBadSource    // the inner source is not among the peer's allowed IPs
	DropCongested    // outer CE on a packet that cannot carry it (RFC 6040)
	DropTunError     // the system refused the packet

	numReasons
)

var reasonNames = [numReasons]string{
	notDropped: "not dropped",
	DropNoPeer: "no_peer", DropNoEndpoint: "no_endpoint", DropDown: "interface_down", DropLoop: "routing_loop",
	DropStageFull: "stage_full", DropNoSession: "no_session", DropBudget: "out_of_budget",
	DropKeySpent: "key_spent", DropSendError: "send_error",
	DropMalformed: "malformed", DropBadMAC1: "bad_mac1", DropHandshakes: "handshake_queue_full", DropCrowded: "source_over_share",
	DropCookieNeeded: "cookie_needed", DropRateLimited: "rate_limited", DropNoPrivateKey: "no_private_key",
	DropBadHandshake: "bad_handshake", DropUnknownPeer: "unknown_peer", DropOldTimestamp: "old_timestamp",
	DropTooSoon: "initiation_too_soon", DropStale: "stale_handshake", DropBadCookie: "bad_cookie_reply",
	DropUnknownIndex: "unknown_index", DropKeyExpired: "key_expired", DropBadTag: "bad_tag", DropReplay: "replay",
	DropBadInner: "bad_inner_packet", DropBadSource: "source_not_allowed", DropCongested: "ecn_congested",
	DropTunError: "tun_error",
}

// String is the name in counters and logs.
func (r Reason) String() string { return reasonNames[r] }

// dropLogEvery bounds the log lines per reason.
const dropLogEvery = 10 * time.Second

// drops counts by reason and now and then logs one.
type drops struct {
	count  [numReasons]atomic.Uint64
	logged [numReasons]atomic.Int64 // clock.Time of the last log line
}

func (s *drops) load(r Reason) uint64 { return s.count[r].Load() }

// dropped counts n packets and, at most once in dropLogEvery and reason, says
// so at debug level. p is whom it concerns, or nil.
func (d *Device) dropped(now clock.Time, r Reason, n int, p *peer) {
	total := d.drops.count[r].Add(uint64(n))
	if !d.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	last := d.drops.logged[r].Load()
	if last != 0 && clock.Time(last).Add(dropLogEvery).After(now) || !d.drops.logged[r].CompareAndSwap(last, int64(now)) {
		return
	}
	args := []any{"reason", r.String(), "count", total}
	if p != nil {
		args = append(args, "peer", p.public.Short())
	}
	d.log.Debug("dropped", args...)
}
