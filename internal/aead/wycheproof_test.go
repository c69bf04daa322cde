package aead

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vector is one of Wycheproof's (testdata/wycheproof.txt).
type vector struct {
	id                                  int
	valid                               bool
	key                                 [32]byte
	nonce, ad, plain, ciphertext, claim []byte // claim is the tag it has
}

// sealed is ciphertext and tag in a buffer of its own.
func (v *vector) sealed() []byte { return slices.Concat(v.ciphertext, v.claim) }

func wycheproof(t *testing.T) (all []vector) {
	text, err := os.ReadFile("testdata/wycheproof.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		id, err := strconv.Atoi(f[0])
		if err != nil || len(f) != 8 || f[1] != "valid" && f[1] != "invalid" {
			t.Fatalf("not a vector: %s", line)
		}
		var b [6][]byte
		for i, s := range f[2:] {
			if b[i], err = hex.DecodeString(strings.Trim(s, "-")); err != nil {
				t.Fatalf("vector %d: %v", id, err)
			}
		}
		all = append(all, vector{id, f[1] == "valid", [32]byte(b[0]), b[1], b[2], b[3], b[4], b[5]})
	}
	return all
}

// panics tells whether f does.
func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

// What single messages are sealed and opened with, in place as Seal and Open do it,
// against all of Wycheproof's vectors. Our API has no other size of nonce than the
// right one; what is below it refuses the others.
func TestWycheproof(t *testing.T) {
	valid, invalid, nonces := 0, 0, 0
	for _, v := range wycheproof(t) {
		a := New(&v.key).aead
		buf, n := v.sealed(), len(v.plain)
		if len(v.nonce) != a.NonceSize() {
			nonces++
			if v.valid {
				t.Errorf("vector %d: a nonce of %d bytes is said to be valid", v.id, len(v.nonce))
			}
			if !panics(func() { a.Seal(nil, v.nonce, v.plain, v.ad) }) || !panics(func() { _, _ = a.Open(nil, v.nonce, buf, v.ad) }) {
				t.Errorf("vector %d: a nonce of %d bytes is taken", v.id, len(v.nonce))
			}
			continue
		}
		_, err := a.Open(buf[:0:len(buf)], v.nonce, buf, v.ad)
		if (err == nil) != v.valid {
			t.Errorf("vector %d: valid: %v, opened: %v", v.id, v.valid, err)
		}
		if !v.valid {
			invalid++
			continue
		}
		valid++
		if !bytes.Equal(buf[:n], v.plain) {
			t.Errorf("vector %d opens to %x, not %x", v.id, buf[:n], v.plain)
		}
		copy(buf, v.plain)
		clear(buf[n:])
		if a.Seal(buf[:0:len(buf)], v.nonce, buf[:n], v.ad); !bytes.Equal(buf, v.sealed()) {
			t.Errorf("vector %d is sealed as %x, not %x", v.id, buf, v.sealed())
		}
	}
	if valid != 233 || invalid != 60 || nonces != 7 {
		t.Errorf("%d valid, %d invalid and %d of other nonces, not 233, 60 and 7", valid, invalid, nonces)
	}
}

// The oracle, which the next test needs, knows all that are valid, and by how much
// the tags of the others are wrong.
func TestOracleAgainstWycheproof(t *testing.T) {
	for _, v := range wycheproof(t) {
		if len(v.nonce) != 12 {
			continue
		}
		got := oracleSeal(&v.key, (*[12]byte)(v.nonce), v.plain, v.ad)
		if bytes.Equal(got, v.sealed()) != v.valid || !bytes.HasPrefix(got, v.ciphertext) {
			t.Errorf("vector %d: valid: %v, sealed as %x", v.id, v.valid, got)
		}
	}
}

// The same for batches. None of the vectors is one for them: the ten whose nonce
// begins with 4 zero bytes have additional data, which a batch has not. But
// the ciphertext does not depend on that, so those ten are known in advance but for
// their tags. The others are carried over: the key, the ciphertext, which is what
// Poly1305 reads, the last 8 bytes of the nonce, and what was changed in the tag.
// What they are sealed from and the true tag are the oracle's.
func TestWycheproofBatch(t *testing.T) {
	var all []carried
	direct, known := 0, 0
	for _, v := range wycheproof(t) {
		if len(v.nonce) != 12 {
			continue
		}
		c := carryOver(&v)
		if bytes.HasPrefix(v.nonce, make([]byte, 4)) {
			known++
			if len(v.ad) == 0 {
				direct++
			}
			if !bytes.Equal(c.plain, v.plain) {
				t.Errorf("vector %d: the oracle opens it to %x", v.id, c.plain)
			}
		}
		all = append(all, c)
	}
	if len(all) != 293 || known != 10 || direct != 0 {
		t.Errorf("%d vectors, %d with known ciphertexts, %d that apply as they are; not 293, 10 and 0", len(all), known, direct)
	}
	for _, name := range Kernels() {
		t.Run(name, func(t *testing.T) {
			for i := range all {
				all[i].check(t, name)
			}
		})
	}
}

// carried is a vector as it is in a batch.
type carried struct {
	*vector
	counter uint64
	plain   []byte
	tag     []byte // the true one
	claimed []byte // equal to it if the vector is valid
}

func carryOver(v *vector) carried {
	c := carried{vector: v, counter: binary.LittleEndian.Uint64(v.nonce[4:])}
	var nonce [12]byte
	copy(nonce[4:], v.nonce[4:])
	n := len(v.ciphertext)
	c.plain = oracleSeal(&v.key, &nonce, v.ciphertext, nil)[:n]
	c.tag = oracleSeal(&v.key, &nonce, c.plain, nil)[n:]
	right := oracleSeal(&v.key, (*[12]byte)(v.nonce), v.plain, v.ad)[n:]
	c.claimed = make([]byte, Overhead)
	for i := range c.claimed {
		c.claimed[i] = c.tag[i] ^ right[i] ^ v.claim[i]
	}
	return c
}

// check seals and opens c as one of a full batch, in a lane that depends on which
// it is, with others around it.
func (c *carried) check(t *testing.T, kernel string) {
	k, err := NewWith(kernel, &c.key)
	if err != nil {
		t.Fatal(err)
	}
	at, n := c.id%32, len(c.plain)
	batch := make([]Message, 32)
	for i := range batch {
		batch[i] = Message{Buf: make([]byte, 7*i+Overhead), Counter: c.counter + uint64(i-at)}
	}
	batch[at].Buf = append(bytes.Clone(c.plain), make([]byte, Overhead)...)
	buf := batch[at].Buf
	if k.SealBatch(batch); !bytes.Equal(buf[:n], c.ciphertext) || !bytes.Equal(buf[n:], c.tag) {
		t.Errorf("vector %d is sealed as %x, not %x %x", c.id, buf, c.ciphertext, c.tag)
	}
	copy(buf[n:], c.claimed)
	k.OpenBatch(batch)
	for i, m := range batch {
		if m.Bad != (i == at && !c.valid) {
			t.Errorf("vector %d, valid: %v: message %d, bad: %v", c.id, c.valid, i-at, m.Bad)
		}
	}
	if c.valid && !bytes.Equal(buf[:n], c.plain) {
		t.Errorf("vector %d opens to %x, not %x", c.id, buf[:n], c.plain)
	}
}
