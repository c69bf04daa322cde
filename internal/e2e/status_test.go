//go:build linux

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"culvert/internal/nstest"
	"culvert/internal/offload"
)

// statusOf asks with culvert status --json.
func statusOf(t *testing.T, h *nstest.Host) (text string, s struct {
	Up       bool
	Offloads []offload.State
	Sockets  map[string]uint64
	Drops    map[string]uint64
}) {
	t.Helper()
	text = command(t, h.NS, daemon("status", "--json", h.WG)...)
	must(t, json.Unmarshal([]byte(text), &s))
	return text, s
}

// gsoTo finds the state of UDP GSO towards an address.
func gsoTo(all []offload.State, to string) *offload.State {
	for i, o := range all {
		if o.Name == "gso" && o.To == to {
			return &all[i]
		}
	}
	return nil
}

func TestStatus(t *testing.T) {
	t.Run("it shows traffic and drops, and no key", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{psk: true})
		pings(t, p.left.NS, rightTun4, 3)
		ping(t, p.left.NS, "192.168.77.99", 1) // nobody's
		text, s := statusOf(t, p.left)
		if !s.Up || s.Sockets["sent"] < 4 || s.Sockets["received"] < 4 || s.Drops["no_peer"] == 0 || gsoTo(s.Offloads, "") == nil {
			t.Error(text)
		}
		text += command(t, p.left.NS, daemon("status", p.left.WG)...)
		for _, line := range strings.Fields(command(t, p.left.NS, "wg", "show", p.left.WG, "dump")) {
			key, err := base64.StdEncoding.DecodeString(line)
			if err == nil && len(key) == 32 && (strings.Contains(text, line) || strings.Contains(text, hex.EncodeToString(key))) {
				t.Errorf("there is a key in it: %s", text)
			}
		}
	})
	t.Run("a path with a small MTU turns UDP GSO off for its destination, a change of routes on again", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, options{underlay: 1300})
		var off *offload.State
		eventually(t, patience, "GSO is off for the destination", func() bool {
			// More than once: the addresses that the test gave are changes of routes, too, and
			// may be heard of late.
			iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "2M")
			_, s := statusOf(t, p.left)
			off = gsoTo(s.Offloads, rightIP4)
			return off != nil && s.Sockets["gso_fallbacks"] > 0
		})
		if off.On || off.Why != "EMSGSIZE" && off.Why != "EINVAL" || off.Since.IsZero() {
			t.Fatalf("%+v", off)
		}
		command(t, p.left.NS, "ip", "link", "set", leftVeth, "mtu", "1500")
		eventually(t, patience, "GSO has another chance", func() bool {
			_, s := statusOf(t, p.left)
			return gsoTo(s.Offloads, rightIP4) == nil
		})
	})
}
