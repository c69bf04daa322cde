package noise

import "culvert/internal/aead"

// Keypair is a pair of transport keys. Immutable until Wipe; safe for concurrent use.
type Keypair struct {
	Send, Recv              *aead.Key
	LocalIndex, RemoteIndex uint32
	Initiator               bool // we made the initiation
}

// Wipe overwrites both keys; see aead.Key.Wipe. Nobody may be using them.
func (k *Keypair) Wipe() {
	k.Send.Wipe()
	k.Recv.Wipe()
}

// newKeypair ends a handshake (paper, section 5.4.5): the first key is for
// what the initiator sends, the second for what the responder sends.
func newKeypair(s *symmetric, local, remote uint32, initiator bool) *Keypair {
	k1, k2 := kdf2(&s.chain, nil)
	defer clear(k1[:])
	defer clear(k2[:])
	k := &Keypair{LocalIndex: local, RemoteIndex: remote, Initiator: initiator}
	if initiator {
		k.Send, k.Recv = aead.New(&k1), aead.New(&k2)
	} else {
		k.Recv, k.Send = aead.New(&k1), aead.New(&k2)
	}
	return k
}
