package ipc

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"culvert/device/config"
)

func TestWriteStatus(t *testing.T) {
	d := &fakeDevice{
		iface: config.Interface{PrivateKey: key(0xa1), ListenPort: 51820, FirewallMark: 1234},
		peers: []*config.Peer{
			{
				PublicKey: key(0xb2), PresharedKey: key(0xc3), Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:443"),
				PersistentKeepalive: 25, LastHandshake: time.Unix(1700000000, 42), RxBytes: 1372, TxBytes: 1 << 63,
				AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")},
			},
			{PublicKey: key(0xc3)},
		},
	}
	want := `private_key=` + hexA + `
listen_port=51820
fwmark=1234
public_key=` + hexB + `
preshared_key=` + hexC + `
protocol_version=1
endpoint=[fe80::1%eth0]:443
last_handshake_time_sec=1700000000
last_handshake_time_nsec=42
tx_bytes=9223372036854775808
rx_bytes=1372
persistent_keepalive_interval=25
allowed_ip=10.0.0.0/8
allowed_ip=::/0
public_key=` + hexC + `
preshared_key=` + zero + `
protocol_version=1
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
`
	var got strings.Builder
	if err := WriteStatus(&got, d); err != nil || got.String() != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got.String(), want)
	}
	got.Reset()
	if err := WriteStatus(&got, new(fakeDevice)); err != nil || got.String() != "listen_port=0\n" {
		t.Errorf("a fresh device: %v, %q", err, got.String())
	}
}

// A record never outgrows the memory set apart for it.
func TestLongestRecords(t *testing.T) {
	longest := &config.Peer{
		Endpoint:            netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%fifteen-letters]:65535"),
		PersistentKeepalive: 65535, LastHandshake: time.Unix(1<<62, 999999999), RxBytes: 1<<64 - 1, TxBytes: 1<<64 - 1,
	}
	var b bytes.Buffer
	if err := WriteStatus(&b, &fakeDevice{iface: config.Interface{PrivateKey: key(1), ListenPort: 65535, FirewallMark: 1<<32 - 1}, peers: []*config.Peer{longest}}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > maxRecord {
		t.Errorf("%d bytes, more than %d", b.Len(), maxRecord)
	}
}

func TestPrintAllocations(t *testing.T) {
	d := &fakeDevice{}
	u, err := ReadUpdate(bytes.NewReader(manyPeers(500)))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Configure(u); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(5, func() {
		if err := WriteStatus(io.Discard, d); err != nil {
			t.Fatal(err)
		}
	})
	if n > 12 {
		t.Errorf("%v allocations for 500 peers", n)
	}
}

// failing fails after n bytes.
type failing struct{ n int }

var errGone = errors.New("gone")

func (f *failing) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errGone
	}
	return len(b), nil
}

func TestWriteStatusStopsAtAnError(t *testing.T) {
	d := &fakeDevice{}
	for range 10_000 {
		d.peers = append(d.peers, &config.Peer{})
	}
	asked := 0
	counted := countingDevice{d, &asked}
	if err := WriteStatus(&failing{4 * writeBuffer}, counted); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	if asked > 1000 {
		t.Errorf("%d peers were asked for", asked)
	}
}

type countingDevice struct {
	*fakeDevice
	peers *int
}

func (d countingDevice) Describe(head func(*config.Interface) error, peer func(*config.Peer) error) error {
	return d.fakeDevice.Describe(head, func(p *config.Peer) error { *d.peers++; return peer(p) })
}

func BenchmarkWriteStatus(b *testing.B) {
	const peers = 1000
	d := &fakeDevice{}
	u, err := ReadUpdate(bytes.NewReader(manyPeers(peers)))
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Configure(u); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteStatus(io.Discard, d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(peers*b.N)/b.Elapsed().Seconds(), "peers/s")
}
