package cryptobench

import (
	"bytes"
	"fmt"

	"culvert/internal/aead"
)

// bench has a key of each kernel, all the same one, and the packets of a step.
type bench struct {
	*Options
	names []string
	keys  []*aead.Key

	counter uint64 // the next; one for all kernels, as the key is one
	packets []aead.Message
	plain   [][]byte
	sealed  [][]byte // packets as they are sealed; their counters are in packets
}

func newBench(o *Options, names []string) (*bench, error) {
	b := &bench{Options: o, names: names}
	secret := [aead.KeySize]byte{1, 2, 3}
	for _, name := range names {
		k, err := aead.NewWith(name, &secret)
		if err != nil {
			return nil, fmt.Errorf("the kernel %w", err)
		}
		b.keys = append(b.keys, k)
	}
	return b, nil
}

// generic is the key of x/crypto.
func (b *bench) generic() *aead.Key { return b.keys[len(b.keys)-1] }

// lay makes the packets of a step, laid out as in a batch of the daemon: one after
// the other, each with room for its header and its tag.
func (b *bench) lay(s Step) {
	stride := header + s.Size + aead.Overhead
	arena := make([]byte, s.Messages*stride)
	b.packets, b.plain, b.sealed = make([]aead.Message, s.Messages), make([][]byte, s.Messages), make([][]byte, s.Messages)
	for i := range b.packets {
		b.packets[i].Buf = arena[i*stride+header : (i+1)*stride]
		b.plain[i] = make([]byte, s.Size)
		for j := range b.plain[i] {
			b.plain[i][j] = byte(i + j ^ j>>8)
		}
	}
}

// count gives the packets counters that were not used before.
func (b *bench) count() {
	for i := range b.packets {
		b.packets[i].Counter = b.counter
		b.counter++
	}
}

// prove wants that a kernel opens what x/crypto sealed, and the other way round.
// Afterwards sealed can be opened.
func (b *bench) prove(kernel int) error {
	for _, way := range [][2]*aead.Key{{b.keys[kernel], b.generic()}, {b.generic(), b.keys[kernel]}} {
		for i, m := range b.packets {
			copy(m.Buf, b.plain[i])
		}
		b.count()
		way[0].SealBatch(b.packets)
		for i, m := range b.packets {
			b.sealed[i] = bytes.Clone(m.Buf)
		}
		way[1].OpenBatch(b.packets)
		for i, m := range b.packets {
			if m.Bad || !bytes.Equal(m.Buf[:len(b.plain[i])], b.plain[i]) {
				return fmt.Errorf("the kernel %s computes something else than x/crypto; please report it", b.names[kernel])
			}
		}
	}
	return nil
}

// seal is calls of sealing.
func (b *bench) seal(k *aead.Key, calls int) error {
	for range calls {
		b.count()
		k.SealBatch(b.packets)
	}
	return nil
}

// open is calls of opening, with what makes the next one possible.
func (b *bench) open(k *aead.Key, calls int) error {
	for range calls {
		for i := range b.packets {
			copy(b.packets[i].Buf, b.sealed[i])
		}
		k.OpenBatch(b.packets)
		for i := range b.packets {
			if b.packets[i].Bad {
				return fmt.Errorf("a packet of %d bytes does not open; please report it", len(b.plain[i]))
			}
		}
	}
	return nil
}
