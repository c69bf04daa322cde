package noise

import (
	"io"

	"culvert/device/config"
)

// Handshake is what an initiator remembers between initiation and response.
// It owns secrets: Wipe it when it is retired. One owner of Wipe; OpenResponse only reads it.
type Handshake struct {
	LocalIndex uint32 // Sender of the initiation, Receiver of the response

	symmetric
	ephemeral keyPair // e
}

// Wipe overwrites the secrets of h. A wiped h opens no response. No
// OpenResponse may be under way.
func (h *Handshake) Wipe() {
	h.symmetric.wipe()
	h.ephemeral.wipe()
}

// CreateInitiation writes an initiation to msg, all but the MACs, which are
// zero (see CookieJar.Seal). local is our index, ts the label by which the
// responder tells old from new. It takes 32 bytes of rand. On error (ErrLowOrder, or
// rand's) nothing is kept and msg is unchanged.
func CreateInitiation(rand io.Reader, id *Identity, r *Remote, local uint32, ts Timestamp, msg *[InitiationSize]byte) (*Handshake, error) {
	if r.lowOrder() {
		return nil, ErrLowOrder
	}
	h := &Handshake{LocalIndex: local, symmetric: begin(&r.Static)}
	if err := h.ephemeral.generate(rand); err != nil {
		return nil, err
	}
	es, err := h.ephemeral.dh((*[keySize]byte)(&r.Static))
	if err != nil {
		h.Wipe()
		return nil, err
	}
	defer clear(es[:])

	m := Initiation{Sender: local, Ephemeral: h.ephemeral.public}
	s := &h.symmetric
	// e
	s.mixHash(m.Ephemeral[:])
	s.mixChain(&m.Ephemeral)
	// es, s
	key := s.mixKey(&es)
	s.seal(&key, m.Static[:], id.static.public[:])
	// ss, {t}
	key = s.mixKey(&r.Shared)
	s.seal(&key, m.Timestamp[:], ts[:])

	m.Put(msg)
	return h, nil
}

// OpenedInitiation is an initiation that has been authenticated; whether it
// is accepted (timestamp, rate) its peer's session.Machine decides. It owns
// secrets: CreateResponse wipes them, and Wipe where there is no response.
type OpenedInitiation struct {
	Static      config.PublicKey // the initiator
	Timestamp   Timestamp
	RemoteIndex uint32 // the initiator's index

	symmetric
	ephemeral [keySize]byte // the initiator's e
}

// Wipe overwrites the secrets of in. What is exported stays.
func (in *OpenedInitiation) Wipe() { in.symmetric.wipe() }

// OpenInitiation authenticates an initiation. mac1 has been checked (CheckMAC1). find gives
// the peer by its static key, nil if there is none; it is called once, as soon
// as that key is known, which then is merely claimed: find changes nothing.
//
// Errors: ErrMalformed, ErrStaticAuth, ErrUnknownPeer, ErrTimestampAuth, and
// ErrLowOrder for an ephemeral or static key of low order.
func (id *Identity) OpenInitiation(msg []byte, find func(config.PublicKey) *Remote) (OpenedInitiation, error) {
	m, err := ParseInitiation(msg)
	if err != nil {
		return OpenedInitiation{}, err
	}
	s := id.start
	defer s.wipe()
	// e
	s.mixHash(m.Ephemeral[:])
	s.mixChain(&m.Ephemeral)
	// es
	es, err := id.static.dh(&m.Ephemeral)
	if err != nil {
		return OpenedInitiation{}, err
	}
	key := s.mixKey(&es)
	clear(es[:])
	// s
	var static config.PublicKey
	if !s.open(&key, static[:], m.Static[:]) {
		return OpenedInitiation{}, ErrStaticAuth
	}
	r := find(static)
	if r == nil {
		return OpenedInitiation{}, ErrUnknownPeer
	}
	if r.lowOrder() {
		return OpenedInitiation{}, ErrLowOrder
	}
	// ss
	key = s.mixKey(&r.Shared)
	// {t}
	var ts Timestamp
	if !s.open(&key, ts[:], m.Timestamp[:]) {
		return OpenedInitiation{}, ErrTimestampAuth
	}
	return OpenedInitiation{
		Static: static, Timestamp: ts, RemoteIndex: m.Sender,
		symmetric: s, ephemeral: m.Ephemeral,
	}, nil
}
