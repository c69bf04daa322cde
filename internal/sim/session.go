package sim

import (
	"encoding/binary"
	"time"

	"culvert/internal/clock"
	"culvert/noise"
)

// session is one as the wire shows it: an initiation and its response have its two
// indices. Of arrays the first element is the initiator's, the second the responder's.
type session struct {
	ends  [2]*peer // as each of both knows the other
	index [2]uint32
	born  [2]clock.Time // when each derived it; 0: not yet
	bornW time.Duration // when the initiator did, by the world's clock
	heard [2]clock.Time // when each first got a transport message on it
	first [2]clock.Time // when each first sent one
	used  [2]map[uint64]bool
	high  [2]uint64 // the highest counter
}

// role is which of both n is; -1: neither.
func (s *session) role(n *node) int {
	for i, p := range s.ends {
		if p != nil && p.of == n {
			return i
		}
	}
	return -1
}

// halfKey is an index of a node.
type halfKey struct {
	owner *node
	index uint32
}

// half is what one index of a node stands for.
type half struct {
	peer *peer
	init *sent    // the initiation, if the owner sent it
	sess *session // nil: no response was seen
}

// Fields of messages, as in the paper, section 5.4.
func senderIndex(b []byte) uint32   { return binary.LittleEndian.Uint32(b[4:]) }
func receiverIndex(b []byte) uint32 { return noise.Receiver(b) }
func counterOf(b []byte) uint64     { return binary.LittleEndian.Uint64(b[8:]) }

// addressee is the peer of n that a handshake message is meant for, which mac1 tells;
// nil: none that n has.
func (n *node) addressee(msg []byte) *peer {
	var h noise.Hasher
	for _, p := range n.peers {
		if !p.present {
			continue
		}
		for _, id := range p.other.identities {
			if id.PublicKey() == p.pub && id.CheckMAC1(&h, msg) {
				return p
			}
		}
	}
	return nil
}

// register notes that an index of n is in use; false: it was before.
func (w *world) register(n *node, index uint32, h *half) bool {
	k := halfKey{n, index}
	if w.halves[k] != nil {
		w.fail(n, "index %08x was used before", index)
		return false
	}
	w.halves[k] = h
	return true
}
