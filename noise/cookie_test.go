package noise

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"

	"culvert/device/config"
	"culvert/internal/clock"
)

const start = clock.Time(1e9)

var home = netip.MustParseAddrPort("192.0.2.7:51820")

// office is a jar and the checker it talks to.
type office struct {
	t       *testing.T
	jar     CookieJar
	checker *CookieChecker
	public  config.PublicKey
	rand    io.Reader
}

func newOffice(t *testing.T) *office {
	public := testIdentity(t, 5).PublicKey()
	return &office{t: t, checker: NewCookieChecker(public), public: public, rand: rand.NewChaCha8([32]byte{5})}
}

// send is a handshake message as it leaves at now.
func (o *office) send(now clock.Time) []byte {
	msg := message(InitiationSize, 1, 0, 0, 0, 0x11, 0x22, 0x33, 0x44)
	o.jar.Seal(now, o.public, msg)
	return msg
}

func (o *office) reply(now clock.Time, msg []byte) []byte {
	o.t.Helper()
	var reply [CookieReplySize]byte
	if err := o.checker.CreateReply(now, o.rand, msg, home, &reply); err != nil {
		o.t.Fatal(err)
	}
	return reply[:]
}

func (o *office) take(now clock.Time, reply []byte) error {
	return o.jar.TakeReply(now, o.public, reply)
}

func (o *office) check(now clock.Time, msg []byte, src netip.AddrPort) bool {
	return o.checker.CheckMAC2(now, o.rand, msg, src)
}

func hasMAC2(msg []byte) bool {
	_, mac2 := mac2Of(msg)
	return [macSize]byte(mac2) != [macSize]byte{}
}

func TestCookieRoundTrip(t *testing.T) {
	o := newOffice(t)
	first := o.send(start)
	if hasMAC2(first) || o.check(start, first, home) {
		t.Error("mac2 without a cookie")
	}
	reply := o.reply(start, first)
	if Receiver(reply) != 0x44332211 {
		t.Errorf("the reply goes to %#x", Receiver(reply))
	}
	if err := o.take(start, reply); err != nil {
		t.Fatal(err)
	}
	second := o.send(start)
	if !o.check(start, second, home) {
		t.Error("mac2 is not good")
	}
	for i := range second {
		if i < 4 {
			continue // the type
		}
		second[i] ^= 0x40
		if o.check(start, second, home) {
			t.Errorf("mac2 is good with byte %d spoilt", i)
		}
		second[i] ^= 0x40
	}
	response := message(ResponseSize, 2)
	if o.jar.Seal(start, o.public, response); !o.check(start, response, home) {
		t.Error("mac2 of a response is not good")
	}
	for _, kind := range []byte{3, 4} {
		if o.check(start, message(64, kind), home) {
			t.Errorf("type %d passes mac2", kind)
		}
	}
}

func TestCookieIsBoundToSource(t *testing.T) {
	o := newOffice(t)
	if err := o.take(start, o.reply(start, o.send(start))); err != nil {
		t.Fatal(err)
	}
	msg := o.send(start)
	for src, want := range map[string]bool{
		"192.0.2.7:51820":          true,
		"[::ffff:192.0.2.7]:51820": true, // the same, as a dual-stack socket names it
		"192.0.2.7:51821":          false,
		"192.0.2.8:51820":          false,
		"[::192.0.2.7]:51820":      false,
		"[2001:db8::7]:51820":      false,
	} {
		if got := o.check(start, msg, netip.MustParseAddrPort(src)); got != want {
			t.Errorf("from %s: %v, want %v", src, got, want)
		}
	}
}

func TestCookieJarUsesACookieFor115Seconds(t *testing.T) {
	o := newOffice(t)
	if err := o.take(start, o.reply(start, o.send(start))); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{
		0:                     true,
		60 * time.Second:      true,
		115*time.Second - 1:   true,
		115 * time.Second:     false,
		120 * time.Second:     false,
		3600 * 24 * time.Hour: false,
	} {
		msg := message(InitiationSize, 1)
		msg[InitiationSize-1] = 0xff // a mac2 from an earlier try does not stay
		if o.jar.Seal(start.Add(after), o.public, msg); hasMAC2(msg) != want {
			t.Errorf("after %v: mac2 %v, want %v", after, !want, want)
		}
	}
}

func TestCookieSecretRotatesAfter120Seconds(t *testing.T) {
	for after, want := range map[time.Duration]bool{
		0:                   true,
		120*time.Second - 1: true,
		120 * time.Second:   false,
		time.Hour:           false,
	} {
		o := newOffice(t)
		if err := o.take(start, o.reply(start, o.send(start))); err != nil {
			t.Fatal(err)
		}
		msg := o.send(start)
		if got := o.check(start.Add(after), msg, home); got != want {
			t.Errorf("after %v: mac2 is good: %v, want %v", after, got, want)
		}
		if got := o.check(start, msg, home); got != want {
			t.Errorf("after %v and back: mac2 is good: %v, want %v", after, got, want)
		}
	}
}

// A secret that could not be renewed is not used on.
func TestCookieWithoutRandomness(t *testing.T) {
	broken := iotest.ErrReader(errors.New("no entropy"))
	o := newOffice(t)
	msg := o.send(start)
	var reply [CookieReplySize]byte
	if err := o.checker.CreateReply(start, broken, msg, home, &reply); err == nil || reply != [CookieReplySize]byte{} {
		t.Errorf("a cookie reply without a secret: %v", err)
	}
	if err := o.take(start, o.reply(start, msg)); err != nil {
		t.Fatal(err)
	}
	msg = o.send(start)
	if !o.checker.CheckMAC2(start.Add(time.Second), broken, msg, home) {
		t.Error("randomness is wanted though the secret is young")
	}
	if err := o.checker.CreateReply(start, broken, msg, home, &reply); err == nil || reply != [CookieReplySize]byte{} {
		t.Errorf("a cookie reply without a nonce: %v", err)
	}
	if o.checker.CheckMAC2(start.Add(120*time.Second), broken, msg, home) {
		t.Error("an old secret is used on")
	}
	// Least of all is a cookie of zeros good then, which anyone can use.
	var zero [cookieSize]byte
	before, mac2 := mac2Of(msg)
	forged := mac(zero[:], before)
	copy(mac2, forged[:])
	if o.checker.CheckMAC2(start.Add(120*time.Second), broken, msg, home) {
		t.Error("the cookie of zeros is good")
	}
	if err := o.checker.CreateReply(start, o.rand, message(64, 3), home, &reply); err != ErrMalformed {
		t.Errorf("a reply to a reply: %v", err)
	}
}

func TestTakeReplyErrors(t *testing.T) {
	o := newOffice(t)
	msg := o.send(start)
	good := o.reply(start, msg)
	var fresh CookieJar
	if err := fresh.TakeReply(start, o.public, good); err != ErrUnexpectedCookie {
		t.Errorf("nothing sent: %v", err)
	}
	before := *o.jar.s
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		want := ErrCookieAuth
		switch {
		case i < 4:
			want = ErrMalformed
		case i < 8: // the receiver's index: the caller found us by it
			continue
		}
		if err := o.take(start, bad); err != want {
			t.Errorf("byte %d: %v, want %v", i, err, want)
		}
	}
	if err := o.take(start, good[:63]); err != ErrMalformed {
		t.Errorf("short: %v", err)
	}
	if err := o.jar.TakeReply(start, testIdentity(t, 6).PublicKey(), good); err != ErrCookieAuth {
		t.Errorf("from another peer: %v", err)
	}
	if *o.jar.s != before {
		t.Error("an error changed the jar")
	}
	// A retry of the same handshake has another mac1 when its content differs; the
	// reply to the old one no longer counts.
	other := message(InitiationSize, 1, 0, 0, 0, 9)
	o.jar.Seal(start, o.public, other)
	if err := o.take(start, good); err != ErrCookieAuth {
		t.Errorf("to the message before: %v", err)
	}
	again := o.reply(start, other)
	if err := o.take(start, again); err != nil {
		t.Fatal(err)
	}
	if err := o.take(start, again); err != ErrUnexpectedCookie {
		t.Errorf("a second time: %v", err)
	}
	if err := o.take(start, o.reply(start, other)); err != ErrUnexpectedCookie {
		t.Errorf("a second reply: %v", err)
	}
}

func TestJarIsSmall(t *testing.T) {
	if j, s := unsafe.Sizeof(CookieJar{}), unsafe.Sizeof(jarState{}); j != unsafe.Sizeof(uintptr(0)) || s > 48 {
		t.Errorf("%d and %d bytes, want one pointer and at most 48", j, s)
	}
}

func TestCheckMAC1(t *testing.T) {
	id := testIdentity(t, 5)
	for _, msg := range [][]byte{message(InitiationSize, 1), message(ResponseSize, 2)} {
		if id.CheckMAC1(new(Hasher), msg) {
			t.Error("no mac1 passes")
		}
		new(CookieJar).Seal(start, id.PublicKey(), msg)
		if !id.CheckMAC1(new(Hasher), msg) {
			t.Error("mac1 is not good")
		}
		if testIdentity(t, 6).CheckMAC1(new(Hasher), msg) {
			t.Error("mac1 is good for another key")
		}
	}
	for _, msg := range [][]byte{nil, message(31, 1), message(64, 3), message(148, 4)} {
		if id.CheckMAC1(new(Hasher), msg) {
			t.Errorf("% x passes", msg)
		}
	}
}

func FuzzTakeReply(f *testing.F) {
	o := &office{public: testIdentity(f, 5).PublicKey(), rand: rand.NewChaCha8([32]byte{})}
	o.checker = NewCookieChecker(o.public)
	var reply [CookieReplySize]byte
	if err := o.checker.CreateReply(start, o.rand, o.send(start), home, &reply); err != nil {
		f.Fatal(err)
	}
	f.Add(reply[:])
	f.Add(message(CookieReplySize, 3))
	f.Fuzz(func(t *testing.T, msg []byte) {
		o.send(start)
		err := o.take(start, msg)
		genuine := Classify(msg) == TypeCookieReply && [56]byte(msg[8:]) == [56]byte(reply[8:])
		if genuine != (err == nil) {
			t.Errorf("% x: %v", msg, err)
		}
	})
}
