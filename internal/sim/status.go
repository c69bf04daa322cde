package sim

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"culvert/internal/clock"
)

// configuration is what get=1 answers, without what changes by itself.
func (n *node) configuration() (lines []string) {
	for _, l := range n.uapi.ask("get=1\n") {
		switch key, _, _ := strings.Cut(l, "="); key {
		case "rx_bytes", "tx_bytes", "last_handshake_time_sec", "last_handshake_time_nsec":
		default:
			lines = append(lines, l)
		}
	}
	return lines
}

// checkGet compares what the node says of itself with what it has been told, and of
// what it has sent with what was seen.
func (n *node) checkGet() {
	if s := n.dev.Stats(); s.Memory > s.Budget {
		n.w.fail(n, "holds %d bytes of %d", s.Memory, s.Budget)
	}
	told := map[string]*peer{}
	for _, p := range n.peers {
		if p.present {
			told[hex.EncodeToString(p.pub[:])] = p
		}
	}
	var p *peer
	var prefixes []netip.Prefix
	check := func() {
		if p == nil {
			return
		}
		want := slices.Clone(p.prefixes)
		slices.SortFunc(want, netip.Prefix.Compare)
		slices.SortFunc(prefixes, netip.Prefix.Compare)
		if !slices.Equal(prefixes, want) {
			n.w.fail(n, "says that %s has %v, not %v", p.other.name, prefixes, want)
		}
	}
	for _, l := range n.uapi.ask("get=1\n") {
		key, value, _ := strings.Cut(l, "=")
		if key == "public_key" {
			check()
			if p, prefixes = told[value], nil; p == nil {
				n.w.fail(n, "says that it has the peer %s", value)
				return
			}
			delete(told, value)
		}
		if key == "allowed_ip" {
			prefixes = append(prefixes, netip.MustParsePrefix(value))
		}
		if want, ok := n.saysOf(p, key); ok && want != value {
			n.w.fail(n, "says %s, not %s=%s", l, key, want)
		}
	}
	check()
	if len(told) > 0 {
		n.w.fail(n, "does not speak of %d of its peers", len(told))
	}
}

// saysOf is the value that the node should have for a key of a get; false: it is not
// known. p is the peer whose section it is in, nil for the interface.
func (n *node) saysOf(p *peer, key string) (value string, known bool) {
	switch key {
	case "errno":
		return "0", true
	case "listen_port":
		return fmt.Sprint(n.port), true
	case "private_key":
		if n.keyless {
			return "", false
		}
		return hex.EncodeToString(n.priv[:]), true
	}
	if p == nil {
		return "", false
	}
	switch key {
	case "preshared_key":
		return hex.EncodeToString(p.psk[:]), true
	case "persistent_keepalive_interval":
		return fmt.Sprint(p.keepalive), true
	case "tx_bytes":
		return strconv.FormatUint(p.tx, 10), true
	}
	return "", false
}

// jumped notes that the node's clocks jump now: nothing that depends on how long
// something took is known any more.
func (n *node) jumped() {
	n.jumpedAt = n.now()
	for _, p := range n.peers {
		p.touched()
	}
}

// jumpedSince reports whether the clocks have jumped since then.
func (n *node) jumpedSince(at clock.Time) bool { return n.jumpedAt >= at }
