package noise

import "io"

// CreateResponse writes the response to msg, all but the MACs, which are zero (see
// CookieJar.Seal), and derives the responder's keypair. local is our index. It
// takes 32 bytes of rand. It wipes the secrets in in, also on an error
// (ErrLowOrder, or rand's), which leaves msg unchanged.
func CreateResponse(rand io.Reader, in *OpenedInitiation, r *Remote, local uint32, msg *[ResponseSize]byte) (*Keypair, error) {
	s := in.symmetric
	in.Wipe()
	defer s.wipe()
	if r.lowOrder() {
		return nil, ErrLowOrder
	}
	var e keyPair
	defer e.wipe()
	if err := e.generate(rand); err != nil {
		return nil, err
	}
	ee, err := e.dh(&in.ephemeral)
	if err != nil {
		return nil, err
	}
	defer clear(ee[:])
	se, err := e.dh((*[keySize]byte)(&in.Static))
	if err != nil {
		return nil, err
	}
	defer clear(se[:])

	m := Response{Sender: local, Receiver: in.RemoteIndex, Ephemeral: e.public}
	// e
	s.mixHash(m.Ephemeral[:])
	s.mixChain(&m.Ephemeral)
	// ee, se
	s.mixChain(&ee)
	s.mixChain(&se)
	// psk, {}
	key := s.mixPSK(&r.PSK)
	s.seal(&key, m.Empty[:], nil)

	m.Put(msg)
	return newKeypair(&s, local, in.RemoteIndex, false), nil
}

// OpenResponse authenticates the response to h and derives the initiator's
// keypair. h is not changed: after garbage the true response still opens. mac1 has been checked.
//
// Errors: ErrMalformed, ErrWrongReceiver (also for a wiped h), ErrResponseAuth,
// and ErrLowOrder for an ephemeral key of low order.
func (id *Identity) OpenResponse(h *Handshake, r *Remote, msg []byte) (*Keypair, error) {
	m, err := ParseResponse(msg)
	if err != nil {
		return nil, err
	}
	if m.Receiver != h.LocalIndex || h.ephemeral.wiped() {
		return nil, ErrWrongReceiver
	}
	s := h.symmetric
	defer s.wipe()
	// e
	s.mixHash(m.Ephemeral[:])
	s.mixChain(&m.Ephemeral)
	// ee
	ee, err := h.ephemeral.dh(&m.Ephemeral)
	if err != nil {
		return nil, err
	}
	s.mixChain(&ee)
	clear(ee[:])
	// se
	se, err := id.static.dh(&m.Ephemeral)
	if err != nil {
		return nil, err
	}
	s.mixChain(&se)
	clear(se[:])
	// psk, {}
	key := s.mixPSK(&r.PSK)
	if !s.open(&key, nil, m.Empty[:]) {
		return nil, ErrResponseAuth
	}
	return newKeypair(&s, h.LocalIndex, m.Sender, true), nil
}
