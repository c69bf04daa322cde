package checksum

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// slow is RFC 1071 section 4.1 as it reads.
func slow(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestEveryLengthAgainstSlow(t *testing.T) {
	defer func(v bool) { vectors = v }(vectors)
	if vectors {
		t.Run("vectors", testEveryLength)
		vectors = false
	}
	t.Run("words", testEveryLength)
}

func testEveryLength(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 600 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if got, want := Sum(0).Add(b).Fold(), slow(b); got != want {
			t.Fatalf("%d random bytes: sum %#04x, want %#04x", n, got, want)
		}
		for i := range b {
			b[i] = 0xff
		}
		if got, want := Sum(0).Add(b).Fold(), slow(b); got != want {
			t.Fatalf("%d bytes of ones: sum %#04x, want %#04x", n, got, want)
		}
	}
}

// The example of RFC 1071 section 3.
func TestRFC1071Example(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Sum(0).Add(b).Fold(); got != 0xddf2 {
		t.Errorf("sum %#04x, want 0xddf2", got)
	}
	if got := Sum(0).Add(b).Checksum(); got != 0x220d {
		t.Errorf("checksum %#04x, want 0x220d", got)
	}
}

func TestZeroOnlyForZeros(t *testing.T) {
	if got := Sum(0).Add(make([]byte, 100)).Fold(); got != 0 {
		t.Errorf("sum of zeros %#04x", got)
	}
	if got := Sum(0).AddUint16(1).SubUint16(1).Fold(); got != 0xffff {
		t.Errorf("1-1 = %#04x, want 0xffff: zero is only the sum of nothing", got)
	}
}

func TestPseudoHeader(t *testing.T) {
	for _, size := range []int{4, 16} {
		src, dst := make([]byte, size), make([]byte, size)
		for i := range src {
			src[i], dst[i] = byte(i*7+1), byte(200-i)
		}
		for _, length := range []int{8, 1500, 65535, 70000} {
			flat := append(append([]byte{}, src...), dst...)
			flat = binary.BigEndian.AppendUint32(flat, uint32(length))
			flat = append(flat, 0, 0, 0, 17)
			if got, want := Pseudo(17, src, dst, length).Fold(), slow(flat); got != want {
				t.Errorf("addresses of %d bytes, length %d: %#04x, want %#04x", size, length, got, want)
			}
		}
	}
}

// FuzzAdd: pieces cut at even places, whole words and the whole at once all
// give what the slow sum gives, and a packet with its checksum verifies.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{0xff, 0xff, 0xff}, uint16(1))
	f.Add(make([]byte, 130), uint16(33))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		want := slow(b)
		if got := Sum(0).Add(b).Fold(); got != want {
			t.Fatalf("at once: %#04x, want %#04x", got, want)
		}
		at := min(int(cut)&^1, len(b)&^1)
		if got := Sum(0).Add(b[:at]).Add(b[at:]).Fold(); got != want {
			t.Fatalf("cut at %d: %#04x, want %#04x", at, got, want)
		}
		var words Sum
		for i := 0; i+4 <= len(b)&^3; i += 4 {
			words = words.AddUint32(binary.BigEndian.Uint32(b[i:]))
		}
		if got := words.Add(b[len(b)&^3:]).Fold(); got != want {
			t.Fatalf("by words: %#04x, want %#04x", got, want)
		}
		if len(b)%2 == 0 && want != 0 {
			sealed := binary.BigEndian.AppendUint16(append([]byte{}, b...), ^want)
			if got := Sum(0).Add(sealed).Checksum(); got != 0 {
				t.Fatalf("with its checksum: %#04x, want 0", got)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{20, 64, 1420, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			var s Sum
			for b.Loop() {
				s = s.Add(buf)
			}
			sink = s
		})
	}
}

var sink Sum
