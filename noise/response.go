package noise

import "io"

// CreateResponse writes the response to msg, all but the MACs, which are zero (see
// CookieJar.Seal), and derives the responder's keypair. local is our index. It
// takes 32 bytes of rand. It wipes the secrets in in, also on an error
// (ErrLowOrder, or rand's), which leaves msg unchanged.
func CreateResponse(rand io.Reader, in *OpenedInitiation, r *Remote, local uint32, msg *[ResponseSize]byte) (*Keypair, error) {
	var b ResponseBuilder
	var d DHs
	if err := b.Begin(rand, in, r, local, &d); err != nil {
		return nil, err
	}
	d.Compute()
	return b.Finish(msg)
}

// ResponseBuilder is CreateResponse in two parts, with the Compute of many between them.
// Begin may be called again after Finish. One owner.
type ResponseBuilder struct {
	r             *Remote
	local, remote uint32
	e             keyPair
	theirs        [keySize]byte // the initiator's e
	ee, se        [keySize]byte
	symmetric
}

// Begin adds three DHs to d; Finish after its Compute. r.Shared is not needed before
// Finish. It wipes the secrets in in. On rand's error nothing is added, and there is nothing to finish.
func (b *ResponseBuilder) Begin(rand io.Reader, in *OpenedInitiation, r *Remote, local uint32, d *DHs) error {
	b.symmetric = in.symmetric
	in.Wipe()
	if err := b.e.generate(rand, d); err != nil {
		*b = ResponseBuilder{}
		return err
	}
	b.r, b.local, b.remote, b.theirs = r, local, in.RemoteIndex, in.ephemeral
	d.add(&b.e.private, &b.theirs, &b.ee)
	d.add(&b.e.private, (*[keySize]byte)(&r.Static), &b.se)
	return nil
}

// Finish writes the response and leaves nothing in b.
func (b *ResponseBuilder) Finish(msg *[ResponseSize]byte) (*Keypair, error) {
	defer func() { *b = ResponseBuilder{} }()
	if b.r.lowOrder() || isZero(&b.ee) || isZero(&b.se) {
		return nil, ErrLowOrder
	}
	m := Response{Sender: b.local, Receiver: b.remote, Ephemeral: b.e.public}
	// e
	b.mixHash(m.Ephemeral[:])
	b.mixChain(&m.Ephemeral)
	// ee, se
	b.mixChain(&b.ee)
	b.mixChain(&b.se)
	// psk, {}
	key := b.mixPSK(&b.r.PSK)
	b.seal(&key, m.Empty[:], nil)

	m.Put(msg)
	return newKeypair(&b.symmetric, b.local, b.remote, false), nil
}

// OpenResponse authenticates the response to h and derives the initiator's
// keypair. h is not changed: after garbage the true response still opens. mac1 has been checked.
//
// Errors: ErrMalformed, ErrWrongReceiver (also for a wiped h), ErrResponseAuth,
// and ErrLowOrder for an ephemeral key of low order.
func (id *Identity) OpenResponse(h *Handshake, r *Remote, msg []byte) (*Keypair, error) {
	var o ResponseOpener
	var d DHs
	if err := o.Begin(id, h, r, msg, &d); err != nil {
		return nil, err
	}
	d.Compute()
	return o.Finish()
}

// ResponseOpener is OpenResponse in two parts, with the Compute of many between them.
// Begin may be called again after Finish. One owner.
type ResponseOpener struct {
	r      *Remote
	local  uint32
	m      Response
	ee, se [keySize]byte
	symmetric
}

// Begin adds two DHs to d; Finish after its Compute, until which h may not be wiped. msg is
// copied. ErrMalformed, ErrWrongReceiver: nothing is added, and there is nothing to finish.
func (o *ResponseOpener) Begin(id *Identity, h *Handshake, r *Remote, msg []byte, d *DHs) (err error) {
	if o.m, err = ParseResponse(msg); err != nil {
		return err
	}
	if o.m.Receiver != h.LocalIndex || h.ephemeral.wiped() {
		return ErrWrongReceiver
	}
	o.r, o.local, o.symmetric = r, h.LocalIndex, h.symmetric
	d.add(&h.ephemeral.private, &o.m.Ephemeral, &o.ee)
	d.add(&id.static.private, &o.m.Ephemeral, &o.se)
	return nil
}

// Finish leaves nothing in o. ErrLowOrder, ErrResponseAuth.
func (o *ResponseOpener) Finish() (*Keypair, error) {
	defer func() { *o = ResponseOpener{} }()
	if isZero(&o.ee) || isZero(&o.se) {
		return nil, ErrLowOrder
	}
	// e
	o.mixHash(o.m.Ephemeral[:])
	o.mixChain(&o.m.Ephemeral)
	// ee, se
	o.mixChain(&o.ee)
	o.mixChain(&o.se)
	// psk, {}
	key := o.mixPSK(&o.r.PSK)
	if !o.open(&key, nil, o.m.Empty[:]) {
		return nil, ErrResponseAuth
	}
	return newKeypair(&o.symmetric, o.local, o.m.Sender, true), nil
}
