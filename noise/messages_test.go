package noise

import (
	"bytes"
	"slices"
	"testing"
)

func message(size int, start ...byte) []byte {
	b := make([]byte, size)
	copy(b, start)
	return b
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		msg  []byte
		want MessageType
	}{
		{message(148, 1), TypeInitiation},
		{message(92, 2), TypeResponse},
		{message(64, 3), TypeCookieReply},
		{message(32, 4), TypeTransport},
		{message(33, 4), TypeTransport}, // an odd length is the sender's affair
		{message(1500, 4), TypeTransport},
		{nil, TypeInvalid},
		{message(3, 1), TypeInvalid},
		{message(147, 1), TypeInvalid},
		{message(149, 1), TypeInvalid},
		{message(92, 1), TypeInvalid},
		{message(148, 2), TypeInvalid},
		{message(91, 2), TypeInvalid},
		{message(93, 2), TypeInvalid},
		{message(63, 3), TypeInvalid},
		{message(65, 3), TypeInvalid},
		{message(31, 4), TypeInvalid},
		{message(148, 0), TypeInvalid},
		{message(148, 5), TypeInvalid},
		{message(148, 1, 1), TypeInvalid}, // reserved bytes
		{message(148, 1, 0, 1), TypeInvalid},
		{message(92, 2, 0, 0, 1), TypeInvalid},
		{message(64, 3, 0x80), TypeInvalid},
		{message(64, 4, 0, 0, 0x80), TypeInvalid},
		{message(148, 0, 0, 0, 1), TypeInvalid}, // big-endian
	} {
		if got := Classify(c.msg); got != c.want {
			t.Errorf("% x..., %d bytes: %v, want %v", c.msg[:min(4, len(c.msg))], len(c.msg), got, c.want)
		}
	}
}

func TestReceiver(t *testing.T) {
	for _, c := range []struct {
		msg  []byte
		want uint32
	}{
		{message(148, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), 0},
		{message(92, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), 0x08070605},
		{message(64, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), 0x04030201},
		{message(32, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), 0x04030201},
		{message(8, 4, 0, 0, 0, 1, 2, 3, 4), 0},
	} {
		if got := Receiver(c.msg); got != c.want {
			t.Errorf("%v: %#x, want %#x", Classify(c.msg), got, c.want)
		}
	}
}

func TestTransportHeader(t *testing.T) {
	b := bytes.Repeat([]byte{0xff}, 17)
	PutTransportHeader(b, 0x04030201, 0x1817161514131211)
	want := []byte{4, 0, 0, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0xff}
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
	if got := Counter(b); got != 0x1817161514131211 {
		t.Errorf("counter %#x", got)
	}
}

// A field at each offset of the paper's drawings.
func TestLayout(t *testing.T) {
	numbered := func(size int, kind byte) []byte {
		b := message(size, kind)
		for i := 4; i < size; i++ {
			b[i] = byte(i)
		}
		return b
	}
	at := func(name string, field []byte, from, to int) {
		if want := numbered(256, 0)[from:to]; !slices.Equal(field, want) {
			t.Errorf("%s: % x, want bytes %d to %d", name, field, from, to)
		}
	}
	i, err := ParseInitiation(numbered(148, 1))
	if err != nil || i.Sender != 0x07060504 {
		t.Errorf("initiation: %v, sender %#x", err, i.Sender)
	}
	at("initiation ephemeral", i.Ephemeral[:], 8, 40)
	at("initiation static", i.Static[:], 40, 88)
	at("initiation timestamp", i.Timestamp[:], 88, 116)
	at("initiation mac1", i.MAC1[:], 116, 132)
	at("initiation mac2", i.MAC2[:], 132, 148)
	r, err := ParseResponse(numbered(92, 2))
	if err != nil || r.Sender != 0x07060504 || r.Receiver != 0x0b0a0908 {
		t.Errorf("response: %v, sender %#x, receiver %#x", err, r.Sender, r.Receiver)
	}
	at("response ephemeral", r.Ephemeral[:], 12, 44)
	at("response empty", r.Empty[:], 44, 60)
	at("response mac1", r.MAC1[:], 60, 76)
	at("response mac2", r.MAC2[:], 76, 92)
	c, err := ParseCookieReply(numbered(64, 3))
	if err != nil || c.Receiver != 0x07060504 {
		t.Errorf("cookie reply: %v, receiver %#x", err, c.Receiver)
	}
	at("cookie reply nonce", c.Nonce[:], 8, 32)
	at("cookie reply cookie", c.Cookie[:], 32, 64)
}

// What parses prints back to the same bytes, and exactly what Classify names parses.
func FuzzMessages(f *testing.F) {
	f.Add(message(148, 1, 0, 0, 0, 9))
	f.Add(message(92, 2, 0, 0, 0, 9))
	f.Add(message(64, 3, 0, 0, 0, 9))
	f.Add(message(32, 4, 0, 0, 0, 9))
	f.Add(message(148, 1, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		kind := Classify(msg)
		Receiver(msg)
		var printed []byte
		if m, err := ParseInitiation(msg); (err == nil) != (kind == TypeInitiation) {
			t.Errorf("%v, initiation: %v", kind, err)
		} else if err == nil {
			var b [InitiationSize]byte
			m.Put(&b)
			printed = b[:]
		}
		if m, err := ParseResponse(msg); (err == nil) != (kind == TypeResponse) {
			t.Errorf("%v, response: %v", kind, err)
		} else if err == nil {
			var b [ResponseSize]byte
			m.Put(&b)
			printed = b[:]
		}
		if m, err := ParseCookieReply(msg); (err == nil) != (kind == TypeCookieReply) {
			t.Errorf("%v, cookie reply: %v", kind, err)
		} else if err == nil {
			var b [CookieReplySize]byte
			m.Put(&b)
			printed = b[:]
		}
		if kind == TypeTransport {
			b := bytes.Clone(msg)
			PutTransportHeader(b, Receiver(msg), Counter(msg))
			printed = b
		}
		if kind != TypeInvalid && !bytes.Equal(printed, msg) {
			t.Errorf("%v prints as % x, was % x", kind, printed, msg)
		}
	})
}
