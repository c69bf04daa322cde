package ipc

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"culvert/device/config"
)

// Keys as they stand in requests. None of them may ever be in an error.
var (
	hexA = strings.Repeat("a1", 32)
	hexB = strings.Repeat("b2", 32)
	hexC = strings.Repeat("c3", 32)
	zero = strings.Repeat("00", 32)
)

func key(b byte) (k [config.KeySize]byte) {
	for i := range k {
		k[i] = b
	}
	return k
}

func TestReadUpdate(t *testing.T) {
	got, err := ReadUpdate(strings.NewReader(`private_key=` + hexA + `
listen_port=51820
fwmark=0xca6c
replace_peers=true
public_key=` + hexB + `
protocol_version=1
preshared_key=` + hexC + `
endpoint=[::ffff:192.0.2.1]:443
persistent_keepalive_interval=65535
replace_allowed_ips=true
allowed_ip=10.1.2.3/16
allowed_ip=-fd00::5/64
public_key=` + hexC + `
update_only=true
endpoint=[fe80::1%eth0]:1
allowed_ip=0.0.0.0/0
public_key=` + hexA + `
remove=true

fwmark=1
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Update{
		HasPrivateKey: true, PrivateKey: key(0xa1),
		HasListenPort: true, ListenPort: 51820,
		HasFirewallMark: true, FirewallMark: 0xca6c,
		ReplacePeers: true,
		Peers: []config.PeerUpdate{
			{
				PublicKey: key(0xb2), HasPresharedKey: true, PresharedKey: key(0xc3),
				Endpoint:               netip.MustParseAddrPort("192.0.2.1:443"),
				HasPersistentKeepalive: true, PersistentKeepalive: 65535,
				ReplaceAllowedIPs: true,
				AllowedIPs: []config.AllowedIP{
					{Prefix: netip.MustParsePrefix("10.1.0.0/16")},
					{Prefix: netip.MustParsePrefix("fd00::/64"), Remove: true},
				},
			},
			{ // nothing of the section before
				PublicKey: key(0xc3), UpdateOnly: true, Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:1"),
				AllowedIPs: []config.AllowedIP{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
			},
			{PublicKey: key(0xa1), Remove: true},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Each bad line, what the client is told, and what the log says.
var badLines = []struct {
	peer  bool // the line stands in a section
	line  string
	errno syscall.Errno
	says  string
}{
	{false, "listen_port", syscall.EPROTO, "line 2: want KEY=VALUE"},
	{false, hexA, syscall.EPROTO, "line 2: want KEY=VALUE"},
	{false, "=5", syscall.EINVAL, "line 2: no key of the protocol"},
	{false, "listen_port = 5", syscall.EINVAL, "line 2: no key of the protocol"},
	{false, "colour=blue", syscall.EINVAL, "line 2: no key of the protocol"},
	{false, hexA + "=private_key", syscall.EINVAL, "line 2: no key of the protocol"},
	{false, "Listen_port=5", syscall.EINVAL, "line 2: no key of the protocol"},
	{false, "set=1", syscall.EINVAL, "line 2: set: no key that may stand before the first public_key"},
	{false, "get=1", syscall.EINVAL, "line 2: get: no key that may stand before the first public_key"},
	{false, "allowed_ip=10.0.0.0/8", syscall.EINVAL, "line 2: allowed_ip: no key that may stand before the first public_key"},
	{true, "listen_port=5", syscall.EINVAL, "line 3: listen_port: no key that may stand after a public_key"},
	{true, "colour=blue", syscall.EINVAL, "line 3: no key of the protocol"},
	{false, "private_key=" + hexA[:62], syscall.EINVAL, "line 2: private_key: want 64 hexadecimal digits"},
	{false, "private_key=" + hexA + "a1", syscall.EINVAL, "line 2: private_key: want 64 hexadecimal digits"},
	{false, "private_key=" + hexA[:62] + "zz", syscall.EINVAL, "line 2: private_key: want 64 hexadecimal digits"},
	{false, "private_key=", syscall.EINVAL, "line 2: private_key: want 64 hexadecimal digits"},
	{false, "private_key=" + hexA + "\r", syscall.EINVAL, "line 2: private_key: want 64 hexadecimal digits"},
	{false, "public_key=" + hexA[:63], syscall.EINVAL, "line 2: public_key: want 64 hexadecimal digits"},
	{true, "preshared_key=" + hexA[1:], syscall.EINVAL, "line 3: preshared_key: want 64 hexadecimal digits"},
	{false, "listen_port=65536", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "listen_port=-1", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "listen_port=+1", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "listen_port=", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "listen_port=1_0", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "listen_port=0x10", syscall.EINVAL, "line 2: listen_port: want a number from 0 to 65535"},
	{false, "fwmark=4294967296", syscall.EINVAL, "line 2: fwmark: want a number from 0 to 4294967295, decimal or with 0x"},
	{false, "fwmark=0x", syscall.EINVAL, "line 2: fwmark: want a number from 0 to 4294967295, decimal or with 0x"},
	{false, "fwmark=off", syscall.EINVAL, "line 2: fwmark: want a number from 0 to 4294967295, decimal or with 0x"},
	{false, "replace_peers=false", syscall.EINVAL, "line 2: replace_peers: want true"},
	{true, "remove=1", syscall.EINVAL, "line 3: remove: want true"},
	{true, "update_only=", syscall.EINVAL, "line 3: update_only: want true"},
	{true, "replace_allowed_ips=True", syscall.EINVAL, "line 3: replace_allowed_ips: want true"},
	{true, "protocol_version=2", syscall.EPROTONOSUPPORT, "line 3: protocol_version: want 1, the only version there is"},
	{true, "protocol_version=", syscall.EPROTONOSUPPORT, "line 3: protocol_version: want 1, the only version there is"},
	{true, "persistent_keepalive_interval=65536", syscall.EINVAL, "line 3: persistent_keepalive_interval: want a number from 0 to 65535"},
	{true, "persistent_keepalive_interval=off", syscall.EINVAL, "line 3: persistent_keepalive_interval: want a number from 0 to 65535"},
	{true, "endpoint=", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=10.0.0.1", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=10.0.0.1:65536", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=10.0.0.01:1", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=fd00::1:80", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=[10.0.0.1]:80", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=localhost:80", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=[fe80::1%a b]:80", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "endpoint=[fe80::1%interfacenametoo]:80", syscall.EINVAL, "line 3: endpoint: want IPV4:PORT or [IPV6]:PORT"},
	{true, "allowed_ip=", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=-", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=--10.0.0.0/8", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=10.0.0.1", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=10.0.0.0/33", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=10.0.0.0/-1", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=10.0.0.0/08", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=fd00::/129", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=fe80::1%eth0/64", syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
	{true, "allowed_ip=" + hexC, syscall.EINVAL, "line 3: allowed_ip: want ADDRESS/BITS"},
}

func TestBadLines(t *testing.T) {
	for _, bad := range badLines {
		text := bad.line + "\n"
		if bad.peer {
			text = "public_key=" + hexB + "\n" + text
		}
		u, err := ReadUpdate(strings.NewReader(text))
		var e *Error
		if u != nil || !errors.As(err, &e) || e.Errno != bad.errno || e.Error() != bad.says {
			t.Errorf("%q: got %v, %v; want %v, %q", bad.line, u, err, bad.errno, bad.says)
		}
		if err != nil && !errors.Is(err, bad.errno) {
			t.Errorf("%q: the error does not wrap %v", bad.line, bad.errno)
		}
		if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, hexA[:20]) || strings.Contains(s, hexC[:20]) {
			t.Errorf("%q: a key is in %q", bad.line, s)
		}
	}
}

// What is short and strange and good.
func TestGoodLines(t *testing.T) {
	for line, want := range map[string]config.PeerUpdate{
		"allowed_ip=10.0.0.1/0":                  {AllowedIPs: []config.AllowedIP{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}},
		"allowed_ip=-10.0.0.1/32":                {AllowedIPs: []config.AllowedIP{{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Remove: true}}},
		"endpoint=[2001:db8::1]:65535":           {Endpoint: netip.MustParseAddrPort("[2001:db8::1]:65535")},
		"persistent_keepalive_interval=0":        {HasPersistentKeepalive: true},
		"preshared_key=" + zero:                  {HasPresharedKey: true},
		"preshared_key=" + strings.ToUpper(hexC): {HasPresharedKey: true, PresharedKey: key(0xc3)},
	} {
		u, err := ReadUpdate(strings.NewReader("public_key=" + hexB + "\n" + line + "\n"))
		want.PublicKey = key(0xb2)
		if err != nil || !reflect.DeepEqual(u.Peers, []config.PeerUpdate{want}) {
			t.Errorf("%s: %v, %v", line, u, err)
		}
	}
}

func TestLineTooLong(t *testing.T) {
	long := "endpoint=" + strings.Repeat("1", MaxLine)
	for _, text := range []string{long, long + "\n", strings.Repeat("\x00", 100*MaxLine)} {
		if _, err := ReadUpdate(strings.NewReader(text)); !errors.Is(err, errLineTooLong) {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	_, err := ReadUpdate(strings.NewReader(long[:MaxLine] + "\n"))
	if errors.Is(err, errLineTooLong) {
		t.Errorf("a line of %d bytes is refused: %v", MaxLine, err)
	}
}

// The lists of many peers share memory; none may reach into another's.
func TestAllowedIPsDoNotOverlap(t *testing.T) {
	var text strings.Builder
	for peer := range 200 {
		fmt.Fprintf(&text, "public_key=%064x\n", peer+1)
		for i := range peer * peer % 1700 {
			fmt.Fprintf(&text, "allowed_ip=%d.%d.%d.0/24\n", peer, i>>8, i&255)
		}
	}
	u, err := ReadUpdate(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	for peer := range u.Peers {
		ips := u.Peers[peer].AllowedIPs
		if len(ips) != peer*peer%1700 || cap(ips) != len(ips) {
			t.Fatalf("peer %d has %d allowed IPs in %d places", peer, len(ips), cap(ips))
		}
		for i, ip := range ips {
			if want := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(peer), byte(i >> 8), byte(i)}), 24); ip.Prefix != want {
				t.Fatalf("peer %d, allowed IP %d: %v, not %v", peer, i, ip.Prefix, want)
			}
		}
	}
}

func TestQuota(t *testing.T) {
	shared := &quota{max: 3 * peerCost}
	a, b := newParser(shared), newParser(shared)
	line := []byte("public_key=" + hexA)
	for _, p := range []*parser{a, a, b} {
		if err := p.add(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.add(line); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a fourth peer: %v", err)
	}
	a.release()
	if err := b.add(line); err != nil {
		t.Fatalf("after a release: %v", err)
	}
	b.release()
	b.release()
	if n := shared.used.Load(); n != 0 {
		t.Fatalf("%d bytes are never given back", n)
	}
}

func TestRequestTooLarge(t *testing.T) {
	p := newParser(nil)
	p.cost = MaxRequest - peerCost - allowedIPCost + 1
	if err := p.add([]byte("public_key=" + hexA)); err != nil {
		t.Fatal(err)
	}
	if err := p.add([]byte("allowed_ip=10.0.0.0/8")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
}

func TestReleaseWipesKeys(t *testing.T) {
	p := newParser(nil)
	for _, line := range []string{"private_key=" + hexA, "public_key=" + hexB, "preshared_key=" + hexC} {
		if err := p.add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	p.release()
	if !p.update.PrivateKey.IsZero() || !p.update.Peers[0].PresharedKey.IsZero() {
		t.Error("keys are left")
	}
}

// manyPeers is a request of n peers as wg(8) sends it.
func manyPeers(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "public_key=%064x\npreshared_key=%064x\nendpoint=10.%d.%d.%d:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.%[3]d.%[4]d.%[5]d/32\nallowed_ip=fd00::%x/128\n",
			i+1, i+2, i>>16&255, i>>8&255, i&255, i&0xffff)
	}
	return b.Bytes()
}

// Memory grows in steps, not by peer.
func TestParseAllocations(t *testing.T) {
	text := manyPeers(1000)
	n := testing.AllocsPerRun(5, func() {
		if _, err := ReadUpdate(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	})
	if n > 50 {
		t.Errorf("%v allocations for 1000 peers", n)
	}
}

func BenchmarkReadUpdate(b *testing.B) {
	const peers = 10_000
	text := manyPeers(peers)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ReadUpdate(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(peers*b.N)/b.Elapsed().Seconds(), "peers/s")
}
