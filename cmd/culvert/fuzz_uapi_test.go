package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"culvert/conn/conntest"
	"culvert/device"
	"culvert/internal/clock"
	"culvert/ipc"
	"culvert/tun/tuntest"
)

// FuzzConfigure sets whatever a client may set at a device that is there, up, with
// sockets: what package ipc parses and prints goes through what a device makes of it.
// Requests are parted by empty lines. Its laws:
//
//   - a request that is refused, by the parser or because a port is in use, leaves the
//     status as it was: nothing of it is applied;
//   - the status, set again as it is, changes nothing (a fixed point), and set at another
//     device that has nothing gives that one the same status.
func FuzzConfigure(f *testing.F) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, text := range []string{
		"private_key=" + a + "\nlisten_port=51820\n\nprivate_key=" + strings.Repeat("0", 64) + "\n\n",
		"private_key=" + a + "\npublic_key=" + b + "\nendpoint=192.0.2.7:1\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\npersistent_keepalive_interval=25\n\npublic_key=" + b + "\nremove=true\n\n",
		"fwmark=1\nlisten_port=51821\npublic_key=" + b + "\nallowed_ip=10.0.0.0/8\n\n", // in use
		"listen_port=0\n\nlisten_port=7\n\nlisten_port=51821\nfwmark=9\nprivate_key=" + a + "\n\n",
		"public_key=" + b + "\nallowed_ip=10.0.0.0/8\npublic_key=" + a + "\nallowed_ip=10.0.0.0/8\nallowed_ip=10.0.0.1/32\n\nreplace_peers=true\npublic_key=" + b + "\nallowed_ip=-10.0.0.1/32\n\n",
		"public_key=" + b + "\npreshared_key=" + a + "\nendpoint=[fe80::1%7]:1\nreplace_allowed_ips=true\nupdate_only=true\n\npublic_key=" + b + "\nallowed_ip=10.9.8.7/9\ncolour=blue\n\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8<<10 || strings.Count(text, "\n\n") > 12 {
			t.Skip("long")
		}
		synctest.Test(t, func(t *testing.T) {
			net := conntest.NewNetwork(1)
			defer net.Close()
			d, other := settled(t, net, "192.0.2.1"), settled(t, net, "192.0.2.2")
			defer other.Close()
			defer d.Close()
			for request := range strings.SplitSeq(text, "\n\n") {
				before := told(t, d)
				if err := set(d, request+"\n"); err != nil {
					if after := told(t, d); after != before {
						t.Fatalf("%q is refused (%v), and changes\n%q\nto\n%q", request, err, before, after)
					}
				}
			}
			status := told(t, d)
			if err := set(d, status); err != nil || told(t, d) != status {
				t.Fatalf("%q, set again, gives %v and\n%q", status, err, told(t, d))
			}
			if err := set(other, status); err != nil || told(t, other) != status {
				t.Fatalf("%q, set elsewhere, gives %v and\n%q", status, err, told(t, other))
			}
		})
	})
}

// settled is a device that is up, on a host whose port 51821 is in use.
func settled(t *testing.T, net *conntest.Network, addr string) *device.Device {
	t.Helper()
	host := net.Host(netip.MustParseAddr(addr), netip.MustParseAddr("2001:db8::"+addr[len(addr)-1:]))
	used, err := host.Listen(51821, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { used.Close() })
	d, err := device.New(tuntest.NewUp(1420), host, device.Options{Clock: clock.Virtual()})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return d
}

func set(d *device.Device, request string) error {
	u, err := ipc.ReadUpdate(strings.NewReader(request))
	if err != nil {
		return err
	}
	return d.Configure(u)
}

// told is a get's reply, without what a client cannot set and with nothing the peers
// do by themselves.
func told(t *testing.T, d *device.Device) string {
	t.Helper()
	synctest.Wait()
	var b strings.Builder
	if err := ipc.WriteStatus(&b, d); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(b.String(), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "last_handshake_time_") || strings.HasPrefix(line, "tx_bytes=") || strings.HasPrefix(line, "rx_bytes=") ||
			strings.HasPrefix(line, "errno=")
	}), "")
}
