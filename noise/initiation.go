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
	var b InitiationBuilder
	var d DHs
	if err := b.Begin(rand, id, r, local, ts, &d); err != nil {
		return nil, err
	}
	d.Compute()
	return b.Finish(msg)
}

// InitiationBuilder is CreateInitiation in two parts, with the Compute of many between
// them. Begin may be called again after Finish. One owner.
type InitiationBuilder struct {
	id *Identity
	r  *Remote
	ts Timestamp
	h  *Handshake
	es [keySize]byte
}

// Begin adds two DHs to d; Finish after its Compute. r.Shared is not needed before Finish. On
// rand's error nothing is added, and there is nothing to finish.
func (b *InitiationBuilder) Begin(rand io.Reader, id *Identity, r *Remote, local uint32, ts Timestamp, d *DHs) error {
	h := &Handshake{LocalIndex: local, symmetric: begin(&r.Static)}
	if err := h.ephemeral.generate(rand, d); err != nil {
		return err
	}
	b.id, b.r, b.ts, b.h = id, r, ts, h
	d.add(&h.ephemeral.private, (*[keySize]byte)(&r.Static), &b.es)
	return nil
}

// Finish writes the initiation and leaves nothing in b.
func (b *InitiationBuilder) Finish(msg *[InitiationSize]byte) (*Handshake, error) {
	h := b.h
	if isZero(&b.es) || b.r.lowOrder() {
		h.Wipe()
		*b = InitiationBuilder{}
		return nil, ErrLowOrder
	}
	m := Initiation{Sender: h.LocalIndex, Ephemeral: h.ephemeral.public}
	s := &h.symmetric
	// e
	s.mixHash(m.Ephemeral[:])
	s.mixChain(&m.Ephemeral)
	// es, s
	key := s.mixKey(&b.es)
	s.seal(&key, m.Static[:], b.id.static.public[:])
	// ss, {t}
	key = s.mixKey(&b.r.Shared)
	s.seal(&key, m.Timestamp[:], b.ts[:])

	m.Put(msg)
	*b = InitiationBuilder{}
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
	var o InitiationOpener
	var d DHs
	if err := o.Begin(id, msg, &d); err != nil {
		return OpenedInitiation{}, err
	}
	d.Compute()
	static, err := o.Static()
	if err != nil {
		return OpenedInitiation{}, err
	}
	r := find(static)
	if r == nil {
		o.Wipe()
		return OpenedInitiation{}, ErrUnknownPeer
	}
	return o.Finish(r)
}

// InitiationOpener is OpenInitiation in three parts, with the Compute of many between
// the first two, and between the others where a Remote has no Shared yet. After an error it is
// wiped. Begin may be called again after Finish or Wipe. One owner.
type InitiationOpener struct {
	m      Initiation
	static config.PublicKey
	es     [keySize]byte
	symmetric
}

// Begin adds one DH to d; Static after its Compute. msg is copied. ErrMalformed: nothing is added.
func (o *InitiationOpener) Begin(id *Identity, msg []byte, d *DHs) (err error) {
	if o.m, err = ParseInitiation(msg); err != nil {
		return err
	}
	o.symmetric = id.start
	// e
	o.mixHash(o.m.Ephemeral[:])
	o.mixChain(&o.m.Ephemeral)
	d.add(&id.static.private, &o.m.Ephemeral, &o.es)
	return nil
}

// Static is the key of the peer that the initiation claims to be from. ErrLowOrder, ErrStaticAuth.
func (o *InitiationOpener) Static() (config.PublicKey, error) {
	// es
	if isZero(&o.es) {
		o.Wipe()
		return config.PublicKey{}, ErrLowOrder
	}
	key := o.mixKey(&o.es)
	clear(o.es[:])
	// s
	if !o.open(&key, o.static[:], o.m.Static[:]) {
		o.Wipe()
		return config.PublicKey{}, ErrStaticAuth
	}
	return o.static, nil
}

// Finish opens the rest with what is known of that peer, and leaves nothing in o. ErrLowOrder,
// ErrTimestampAuth.
func (o *InitiationOpener) Finish(r *Remote) (OpenedInitiation, error) {
	defer o.Wipe()
	if r.lowOrder() {
		return OpenedInitiation{}, ErrLowOrder
	}
	// ss
	key := o.mixKey(&r.Shared)
	// {t}
	var ts Timestamp
	if !o.open(&key, ts[:], o.m.Timestamp[:]) {
		return OpenedInitiation{}, ErrTimestampAuth
	}
	return OpenedInitiation{
		Static: o.static, Timestamp: ts, RemoteIndex: o.m.Sender,
		symmetric: o.symmetric, ephemeral: o.m.Ephemeral,
	}, nil
}

// Wipe leaves nothing in o.
func (o *InitiationOpener) Wipe() { *o = InitiationOpener{} }
