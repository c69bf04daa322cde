package tun_test

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/tun"
)

// attributes takes rtnetlink attributes apart as netlink(7) says: length, type, data,
// padded to 4 bytes. False if they do not fill b exactly.
func attributes(b []byte) (all map[uint16][][]byte, ok bool) {
	all = map[uint16][][]byte{}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		padded := (n + 3) &^ 3
		if n < 4 || padded > len(b) {
			return nil, false
		}
		kind &= 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
		all[kind] = append(all[kind], b[4:n])
		b = b[padded:]
	}
	return all, true
}

// FuzzLink reads whatever may come from rtnetlink about interfaces. Messages that
// are well made mean what attributes finds in them; of others nothing is wanted but
// that they end.
func FuzzLink(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	for _, name := range []string{"newlink", "dellink", "getlink"} { // of a TUN of Linux 6.18: it went down, was deleted, was asked for
		b, err := os.ReadFile("testdata/" + name + ".bin")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		index, name, mtu, up, ok := tun.ParseLink(b)
		if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
			if ok {
				t.Fatalf("% x is about an interface", b)
			}
			return
		}
		attrs, good := attributes(b[unix.SizeofIfInfomsg:])
		if !good {
			return
		}
		mtus, names := attrs[unix.IFLA_MTU], attrs[unix.IFLA_IFNAME]
		if slices.ContainsFunc(mtus, func(b []byte) bool { return len(b) != 4 }) {
			if ok {
				t.Fatalf("% x has a MTU that is no number", b)
			}
			return
		}
		if !ok {
			t.Fatalf("% x is well made", b)
		}
		wantName, wantMTU := "", 0 // the last counts
		if n := len(names); n > 0 {
			wantName = strings.TrimRight(string(names[n-1]), "\x00")
		}
		if n := len(mtus); n > 0 {
			wantMTU = int(binary.NativeEndian.Uint32(mtus[n-1]))
		}
		if name != wantName || mtu != wantMTU {
			t.Fatalf("% x has the name %q and the MTU %d, want %q and %d", b, name, mtu, wantName, wantMTU)
		}
		if index != int32(binary.NativeEndian.Uint32(b[4:])) || up != (b[8]&1 == 1) {
			t.Fatalf("% x has index %d, up %v", b, index, up)
		}
	})
}
