package aead

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"testing"
)

// Where Poly1305's sum ends next to its prime, or at the end of a limb: what no
// random message meets. Wycheproof's vectors for that need additional data, so these
// are made here: of one block, which is solved for.
func TestBatchPolyEdges(t *testing.T) { each(t, testPolyEdges) }

func testPolyEdges(t *testing.T, k *Key) {
	key := [32]byte{4, 5, 6} // that of k
	var ends []*big.Int
	for v := range int64(7) {
		ends = append(ends, big.NewInt(v), new(big.Int).Sub(prime, big.NewInt(v+1)))
	}
	for _, bit := range []uint{26, 32, 44, 52, 64, 78, 88, 96, 104, 128, 129} { // where limbs end, in 26 and 44 bits
		one := new(big.Int).Lsh(big.NewInt(1), bit)
		ends = append(ends, one, new(big.Int).Sub(one, big.NewInt(1)))
	}
	var batch []Message
	var plain, want [][]byte
	counter := uint64(0)
	for _, end := range ends {
		ciphertext := endsIn(&key, &counter, end)
		var nonce [12]byte
		binary.LittleEndian.PutUint64(nonce[4:], counter)
		p := oracleSeal(&key, &nonce, ciphertext, nil)[:16]
		plain, want = append(plain, p), append(want, oracleSeal(&key, &nonce, p, nil))
		batch = append(batch, Message{Buf: append(bytes.Clone(p), make([]byte, Overhead)...), Counter: counter})
		counter++
	}
	if len(batch) != 36 {
		t.Errorf("%d messages, want 36", len(batch))
	}
	batch = append(batch, filler(32-len(batch)%32)...)
	k.SealBatch(batch)
	for i, end := range ends {
		if !bytes.Equal(batch[i].Buf, want[i]) {
			t.Errorf("the sum ends as %x: sealed as %x, not %x", end, batch[i].Buf, want[i])
		}
		copy(batch[i].Buf, want[i])
	}
	k.OpenBatch(batch)
	for i, end := range ends {
		if batch[i].Bad || !bytes.Equal(batch[i].Buf[:16], plain[i]) {
			t.Errorf("the sum ends as %x: opened to %x, not %x, bad: %v", end, batch[i].Buf[:16], plain[i], batch[i].Bad)
		}
	}
}

// filler is messages that make a batch full.
func filler(count int) []Message {
	batch := make([]Message, count)
	for i := range batch {
		batch[i] = Message{Buf: make([]byte, 16+Overhead), Counter: 1<<40 + uint64(i)}
	}
	return batch
}

// prime is that of Poly1305.
var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))

// endsIn gives a ciphertext of one block with which the sum is end, before the
// second half of the one-time key is added. Not every key has one, so it
// goes on to the first counter from which one can be made.
func endsIn(key *[32]byte, counter *uint64, end *big.Int) []byte {
	top := new(big.Int).Lsh(big.NewInt(1), 128)
	lengths := new(big.Int).Lsh(big.NewInt(16), 64) // 16 bytes, no additional data
	lengths.Add(lengths, top)
	for ; *counter < 1<<20; *counter++ {
		var nonce [12]byte
		binary.LittleEndian.PutUint64(nonce[4:], *counter)
		one := oracleBlock(key, &nonce, 0)
		r := one[:16]
		for _, i := range []int{3, 7, 11, 15} {
			r[i] &= 15
		}
		for _, i := range []int{4, 8, 12} {
			r[i] &= 252
		}
		slices.Reverse(r)
		// end = (block r + lengths) r
		inverse := new(big.Int).ModInverse(new(big.Int).SetBytes(r), prime)
		block := new(big.Int).Mul(end, inverse)
		block.Sub(block, lengths).Mul(block, inverse).Mod(block, prime).Sub(block, top)
		if block.Sign() >= 0 && block.Cmp(top) < 0 {
			ciphertext := block.FillBytes(make([]byte, 16))
			slices.Reverse(ciphertext)
			return ciphertext
		}
	}
	panic(fmt.Sprintf("no counter for %x", end))
}
