package noise

import "encoding/binary"

// Sizes of messages, in bytes (paper, section 5.4).
const (
	InitiationSize      = 148
	ResponseSize        = 92
	CookieReplySize     = 64
	TransportHeaderSize = 16
	TagSize             = 16
	KeepaliveSize       = TransportHeaderSize + TagSize // the smallest transport message
)

// MessageType is the little-endian u32 every message starts with. (The paper
// has one byte of type and three reserved zeros: the same thing.)
type MessageType uint32

// The four types, and TypeInvalid for what is none of them.
const (
	TypeInvalid     MessageType = 0
	TypeInitiation  MessageType = 1
	TypeResponse    MessageType = 2
	TypeCookieReply MessageType = 3
	TypeTransport   MessageType = 4
)

// String is the paper's name of t.
func (t MessageType) String() string {
	switch t {
	case TypeInitiation:
		return "initiation"
	case TypeResponse:
		return "response"
	case TypeCookieReply:
		return "cookie reply"
	case TypeTransport:
		return "transport"
	}
	return "invalid"
}

// Classify gives the type of a datagram, TypeInvalid unless type and length
// fit: exactly 148, 92 or 64 bytes for the first three, 32 or more for transport.
func Classify(b []byte) MessageType {
	if len(b) < KeepaliveSize {
		return TypeInvalid
	}
	t := MessageType(binary.LittleEndian.Uint32(b))
	switch {
	case t == TypeTransport,
		t == TypeInitiation && len(b) == InitiationSize,
		t == TypeResponse && len(b) == ResponseSize,
		t == TypeCookieReply && len(b) == CookieReplySize:
		return t
	}
	return TypeInvalid
}

// Receiver is the receiver index of a response, cookie reply or transport
// message that Classify has named; 0 for an initiation, which has none.
func Receiver(b []byte) uint32 {
	switch Classify(b) {
	case TypeResponse:
		return binary.LittleEndian.Uint32(b[8:])
	case TypeCookieReply, TypeTransport:
		return binary.LittleEndian.Uint32(b[4:])
	}
	return 0
}

// Counter is the counter of a transport message.
func Counter(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:TransportHeaderSize]) }

// PutTransportHeader writes the header of a transport message to the first
// TransportHeaderSize bytes of b.
func PutTransportHeader(b []byte, receiver uint32, counter uint64) {
	_ = b[TransportHeaderSize-1]
	binary.LittleEndian.PutUint32(b, uint32(TypeTransport))
	binary.LittleEndian.PutUint32(b[4:], receiver)
	binary.LittleEndian.PutUint64(b[8:], counter)
}

// Initiation is the first handshake message (paper, section 5.4.2).
type Initiation struct {
	Sender    uint32                        // the initiator's index
	Ephemeral [keySize]byte                 // e
	Static    [keySize + TagSize]byte       // s, encrypted
	Timestamp [timestampSize + TagSize]byte // {t}
	MAC1      [macSize]byte
	MAC2      [macSize]byte
}

// ParseInitiation takes an initiation apart; ErrMalformed unless Classify says it is one.
func ParseInitiation(b []byte) (m Initiation, err error) {
	if Classify(b) != TypeInitiation {
		return m, ErrMalformed
	}
	m.Sender = binary.LittleEndian.Uint32(b[4:])
	split(b[8:], m.Ephemeral[:], m.Static[:], m.Timestamp[:], m.MAC1[:], m.MAC2[:])
	return m, nil
}

// Put writes m to b.
func (m *Initiation) Put(b *[InitiationSize]byte) {
	binary.LittleEndian.PutUint32(b[0:], uint32(TypeInitiation))
	binary.LittleEndian.PutUint32(b[4:], m.Sender)
	join(b[8:], m.Ephemeral[:], m.Static[:], m.Timestamp[:], m.MAC1[:], m.MAC2[:])
}

// Response is the second handshake message (paper, section 5.4.3).
type Response struct {
	Sender    uint32        // the responder's index
	Receiver  uint32        // the initiator's
	Ephemeral [keySize]byte // e
	Empty     [TagSize]byte // {}
	MAC1      [macSize]byte
	MAC2      [macSize]byte
}

// ParseResponse takes a response apart; ErrMalformed unless Classify says it is one.
func ParseResponse(b []byte) (m Response, err error) {
	if Classify(b) != TypeResponse {
		return m, ErrMalformed
	}
	m.Sender = binary.LittleEndian.Uint32(b[4:])
	m.Receiver = binary.LittleEndian.Uint32(b[8:])
	split(b[12:], m.Ephemeral[:], m.Empty[:], m.MAC1[:], m.MAC2[:])
	return m, nil
}

// Put writes m to b.
func (m *Response) Put(b *[ResponseSize]byte) {
	binary.LittleEndian.PutUint32(b[0:], uint32(TypeResponse))
	binary.LittleEndian.PutUint32(b[4:], m.Sender)
	binary.LittleEndian.PutUint32(b[8:], m.Receiver)
	join(b[12:], m.Ephemeral[:], m.Empty[:], m.MAC1[:], m.MAC2[:])
}

// CookieReply answers a handshake message of a sender that is to prove its
// address (paper, section 5.4.7).
type CookieReply struct {
	Receiver uint32 // the Sender of the message it answers
	Nonce    [24]byte
	Cookie   [cookieSize + TagSize]byte // encrypted
}

// ParseCookieReply takes a cookie reply apart; ErrMalformed unless Classify says it is one.
func ParseCookieReply(b []byte) (m CookieReply, err error) {
	if Classify(b) != TypeCookieReply {
		return m, ErrMalformed
	}
	m.Receiver = binary.LittleEndian.Uint32(b[4:])
	split(b[8:], m.Nonce[:], m.Cookie[:])
	return m, nil
}

// Put writes m to b.
func (m *CookieReply) Put(b *[CookieReplySize]byte) {
	binary.LittleEndian.PutUint32(b[0:], uint32(TypeCookieReply))
	binary.LittleEndian.PutUint32(b[4:], m.Receiver)
	join(b[8:], m.Nonce[:], m.Cookie[:])
}

// split copies b to the fields one after the other.
func split(b []byte, fields ...[]byte) {
	for _, f := range fields {
		b = b[copy(f, b):]
	}
}

// join copies the fields to b one after the other.
func join(b []byte, fields ...[]byte) {
	for _, f := range fields {
		b = b[copy(b, f):]
	}
}
