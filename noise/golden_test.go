package noise

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"culvert/device/config"
	"culvert/internal/clock"
)

var update = flag.Bool("update", false, "write testdata/handshake-*.txt anew")

// recorder notes what is read from it.
type recorder struct {
	from io.Reader
	read []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.read = append(r.read, p[:n]...)
	return n, err
}

// transcript is a whole handshake with a cookie on the way, from injected
// randomness to the first packet each way, in hexadecimal.
func transcript(t *testing.T, seed byte, psk config.PresharedKey) []byte {
	t.Helper()
	var out bytes.Buffer
	line := func(name string, b []byte) { fmt.Fprintf(&out, "%-22s %x\n", name, b) }

	random := &recorder{from: rand.NewChaCha8([32]byte{seed})}
	drawn := func(name string) { line(name, random.read); random.read = nil }
	w := newWorld(t, seed, psk)
	w.rand = random
	for i, id := range []*Identity{w.a, w.b} {
		line([]string{"initiator private", "responder private"}[i], id.static.private[:])
		line([]string{"initiator public", "responder public"}[i], id.static.public[:])
	}
	line("static-static", w.toA.Shared[:])
	line("preshared", psk[:])
	line("timestamp", stamp[:])

	const now = clock.Time(1e9)
	var jar CookieJar
	var err error
	if w.state, err = CreateInitiation(random, w.a, w.toB, indexA, stamp, &w.initiation); err != nil {
		t.Fatal(err)
	}
	drawn("initiator ephemeral")
	jar.Seal(now, w.toB.Static, w.initiation[:])
	line("initiation", w.initiation[:])

	src := netip.MustParseAddrPort("192.0.2.7:51820")
	checker := NewCookieChecker(w.b.PublicKey())
	var reply [CookieReplySize]byte
	if err := checker.CreateReply(now, random, w.initiation[:], src, &reply); err != nil {
		t.Fatal(err)
	}
	drawn("secret, nonce")
	line("cookie reply", reply[:])
	if err := jar.TakeReply(now, w.toB.Static, reply[:]); err != nil {
		t.Fatal(err)
	}
	jar.Seal(now, w.toB.Static, w.initiation[:])
	line("same with mac2", w.initiation[:])
	if !w.b.CheckMAC1(new(Hasher), w.initiation[:]) || !checker.CheckMAC2(now, random, w.initiation[:], src) {
		t.Error("the initiation's MACs are wrong")
	}

	w.respond(t)
	drawn("responder ephemeral")
	line("response", w.response[:])
	w.finish(t)
	buf := append([]byte("from the initiator"), make([]byte, TagSize)...)
	w.keysA.Send.Seal(buf, 0)
	line("initiator's packet 0", buf)
	buf = append([]byte("from the responder"), make([]byte, TagSize)...)
	w.keysB.Send.Seal(buf, 1)
	line("responder's packet 1", buf)
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	for name, c := range map[string]struct {
		seed byte
		psk  config.PresharedKey
	}{
		"handshake-plain.txt": {10, config.PresharedKey{}},
		"handshake-psk.txt":   {11, config.PresharedKey(bytes.Repeat([]byte{0x5a}, 32))},
	} {
		got := transcript(t, c.seed, c.psk)
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs:\n%s", name, got)
		}
	}
}
