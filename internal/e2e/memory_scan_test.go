//go:build linux

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"testing"
	"time"

	"culvert/device/config"
	"culvert/internal/clock"
	"culvert/internal/memscan"
	"culvert/internal/nstest"
	"culvert/noise"
)

// probe is a peer inside this process, which knows the keys of its session.
type probe struct {
	id   *noise.Identity
	conn *net.UDPConn
	keys *noise.Keypair
}

// newProbe makes one whose socket is in n.
func newProbe(t *testing.T, n *nstest.NS) *probe {
	t.Helper()
	var k config.PrivateKey
	rand.Read(k[:])
	id, err := noise.NewIdentity(&k)
	must(t, err)
	p := &probe{id: id}
	must(t, n.Do(func() error {
		p.conn, err = net.ListenUDP("udp4", nil)
		return err
	}))
	t.Cleanup(func() { p.conn.Close() })
	return p
}

// connect shakes hands with the daemon of h and sends n keepalives, one by one.
func (p *probe) connect(t *testing.T, h *nstest.Host, to string, n uint64) {
	t.Helper()
	public, err := base64.StdEncoding.DecodeString(h.Public)
	must(t, err)
	remote := &noise.Remote{Static: config.PublicKey(public)}
	remote.Shared, err = p.id.StaticShared(remote.Static)
	must(t, err)
	addr, err := net.ResolveUDPAddr("udp4", to)
	must(t, err)
	var msg [noise.InitiationSize]byte
	state, err := noise.CreateInitiation(rand.Reader, p.id, remote, 7, noise.NewTimestamp(time.Now()), &msg)
	must(t, err)
	new(noise.CookieJar).Seal(clock.System().Now(), remote.Static, msg[:])
	_, err = p.conn.WriteToUDP(msg[:], addr)
	must(t, err, p.conn.SetReadDeadline(time.Now().Add(patience)))
	answer := make([]byte, 2048)
	size, err := p.conn.Read(answer)
	must(t, err)
	p.keys, err = p.id.OpenResponse(state, remote, answer[:size])
	must(t, err)
	for counter := range n {
		b := make([]byte, noise.KeepaliveSize)
		noise.PutTransportHeader(b, p.keys.RemoteIndex, counter)
		p.keys.Send.Seal(b[noise.TransportHeaderSize:], counter)
		_, err := p.conn.WriteToUDP(b, addr)
		must(t, err)
		time.Sleep(time.Millisecond) // so that they come one by one
	}
}

// needles are those of a key in wg(8)'s form.
func needles(t *testing.T, name, key string) []memscan.Needle {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(key)
	must(t, err)
	return memscan.Key(name, (*[32]byte)(b))
}

// Of what a user takes away nothing is left in the memory of the daemon: of a removed peer neither its preshared key nor the
// keys of its session, and of our private key, when another takes its place, neither itself nor what was computed with it. wg(8) has read and
// written them all.
func TestNoKeysInMemoryOfDaemon(t *testing.T) {
	t.Parallel()
	p := newLink(t, options{})
	// What is in registers when the runtime interrupts a goroutine is not reached: SECURITY.md.
	must(t, p.left.StartDaemon(ours, "GODEBUG=asyncpreemptoff=1"), p.right.StartDaemon(ours))
	p.configure(t, options{})
	must(t, p.left.Up(1420, leftTun4+"/24"), p.right.Up(1420, rightTun4+"/24"))
	pid := p.left.Daemon.PID
	probe := newProbe(t, p.right.NS)
	probePublic := probe.id.PublicKey().String()
	psk := nstest.NewPSK()
	for _, h := range []*nstest.Host{p.left, p.right} {
		other := p.left
		if h == p.left {
			other = p.right
		}
		_, err := h.RunInput(psk, "wg", "set", h.WG, "peer", other.Public, "preshared-key", "/dev/stdin")
		must(t, err)
	}
	command(t, p.left.NS, "wg", "set", p.left.WG, "peer", probePublic, "allowed-ips", "192.168.78.1/32")
	pings(t, p.left.NS, rightTun4, 3)
	iperf(t, p.left.NS, p.right.NS, rightTun4, "-n", "4M")
	probe.connect(t, p.left, endpoint(leftIP4, leftPort), 20)
	eventually(t, patience, "the daemon has a session with the probe", func() bool {
		peers, err := p.left.Peers()
		return err == nil && peers[probePublic].RX >= 148+20*32
	})
	for _, what := range []string{"dump", "private-key"} {
		command(t, p.left.NS, "wg", "show", p.left.WG, what)
	}
	command(t, p.left.NS, "wg", "showconf", p.left.WG)

	ofPeers := needles(t, "preshared key", psk)
	ofPeers = append(ofPeers, memscan.Key("session key, ours to send", memscan.Inside(probe.keys.Recv, "secret"))...)
	ofPeers = append(ofPeers, memscan.Key("session key, ours to receive", memscan.Inside(probe.keys.Send, "secret"))...)
	private := needles(t, "private key", p.left.Private)
	public, err := base64.StdEncoding.DecodeString(p.left.Public)
	must(t, err)
	shared, err := probe.id.StaticShared(config.PublicKey(public))
	must(t, err)
	shares := memscan.Key("static-static secret", &shared)
	scan := func(keys []memscan.Needle) map[string]memscan.Hit {
		t.Helper()
		hits, err := memscan.Scan(pid, keys)
		must(t, err)
		found := map[string]memscan.Hit{}
		for _, h := range hits {
			found[h.Needle] = h
		}
		return found
	}
	all := append(append(ofPeers[:len(ofPeers):len(ofPeers)], private...), shares...)
	if found := scan(all); len(found) != len(all)/memscan.Forms { // as they are, and in no other form
		t.Errorf("of 5 keys in use these are found, each in halves: %v", found)
	}

	command(t, p.left.NS, "wg", "set", p.left.WG, "peer", p.right.Public, "remove")
	command(t, p.left.NS, "wg", "set", p.left.WG, "peer", probePublic, "remove")
	for _, h := range scan(append(ofPeers, shares...)) {
		t.Errorf("the peers are removed, and there is %v", h)
	}
	_, err = p.left.RunInput(nstest.NewKeys().Private, "wg", "set", p.left.WG, "private-key", "/dev/stdin")
	must(t, err)
	for _, h := range scan(all) {
		t.Errorf("the private key is another, and there is %v", h)
	}
	if !p.left.Daemon.Alive() {
		t.Error("the daemon is gone: there was nothing to be found")
	}
}
