package conn

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// attributes finds those of a kind as netlink(7) says they are: length, type, data,
// padded to 4 bytes. Not good if they do not fill b exactly.
func attributes(b []byte, kind uint16) (all [][]byte, good bool) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		n, is := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		padded := (n + 3) &^ 3
		if n < 4 || padded > len(b) {
			return nil, false
		}
		if is&0x3fff == kind {
			all = append(all, b[4:n])
		}
		b = b[padded:]
	}
	return all, true
}

// FuzzRoute reads whatever may be the answer about a route. One that is well made
// means what attributes finds in it, the last counts and all have to be numbers; of others nothing is wanted but that they end.
func FuzzRoute(f *testing.F) {
	f.Add([]byte{})
	for _, to := range []string{"192.0.2.1:51820", "[2001:db8::1]:51820"} {
		b, err := (routeRequest{remote: netip.MustParseAddrPort(to), local: netip.MustParseAddrPort(to).Addr(), mark: 7, link: 3}).marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b) // a request is made as answers are
		b[rtmsgType] = unix.RTN_LOCAL
		f.Add(append(b[:len(b):len(b)], 7, 0, unix.RTA_OIF, 0, 1, 2, 3, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		index, local, ok := parseRoute(b)
		if len(b) < unix.SizeofRtMsg {
			if ok {
				t.Fatalf("% x is an answer", b)
			}
			return
		}
		all, good := attributes(b[unix.SizeofRtMsg:], unix.RTA_OIF)
		numbers := len(all) > 0 && !slices.ContainsFunc(all, func(b []byte) bool { return len(b) != 4 })
		switch {
		case !good:
		case ok != numbers:
			t.Fatalf("% x is an answer: %v, with interfaces % x", b, ok, all)
		case ok && (index != binary.NativeEndian.Uint32(all[len(all)-1]) || local != (b[7] == unix.RTN_LOCAL)):
			t.Fatalf("% x leads out of %d, here: %v", b, index, local)
		}
	})
}
