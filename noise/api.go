// Package noise: skeleton of the API; to be split into files by concern.
package noise

import (
	"io"
	"net/netip"
	"time"

	"culvert/device/config"
	"culvert/internal/aead"
	"culvert/internal/clock"
)

// Sizes of messages, in bytes (paper, section 5.4).
const (
	InitiationSize      = 148
	ResponseSize        = 92
	CookieReplySize     = 64
	TransportHeaderSize = 16
	TagSize             = 16
	KeepaliveSize       = TransportHeaderSize + TagSize
)

// MessageType is the little-endian u32 every message starts with.
type MessageType uint32

const (
	TypeInvalid     MessageType = 0
	TypeInitiation  MessageType = 1
	TypeResponse    MessageType = 2
	TypeCookieReply MessageType = 3
	TypeTransport   MessageType = 4
)

// Classify gives the type of a datagram, TypeInvalid unless type and length fit.
func Classify(b []byte) MessageType { panic("TODO") }

// Receiver is the receiver index of a response, cookie reply or transport message.
func Receiver(b []byte) uint32 { panic("TODO") }

// Identity is our own static key, ready for use: prepared ECDH key, public
// key, mac1 key. Immutable; safe for concurrent use.
type Identity struct{}

func NewIdentity(k config.PrivateKey) (*Identity, error) { panic("TODO") } // k is clamped first; error if zero
func (id *Identity) PublicKey() config.PublicKey         { panic("TODO") }

// StaticShared computes the static-static DH; ErrLowOrder if all zeros.
func (id *Identity) StaticShared(remote config.PublicKey) (shared [32]byte, err error) {
	panic("TODO")
}

// CheckMAC1 checks mac1 of an initiation or response, in constant time.
func (id *Identity) CheckMAC1(msg []byte) bool { panic("TODO") }

// Remote is what a handshake needs to know of the peer. Immutable once shared.
type Remote struct {
	Static config.PublicKey
	PSK    config.PresharedKey
	Shared [32]byte // static-static DH with the current Identity
}

// Handshake is what an initiator remembers between initiation and response.
// It owns secrets: Wipe it when it is retired.
type Handshake struct{ LocalIndex uint32 }

func (h *Handshake) Wipe() {}

// CreateInitiation writes an initiation to msg, all but the MACs. On error
// nothing is kept.
func CreateInitiation(rand io.Reader, id *Identity, r *Remote, local uint32, ts Timestamp, msg *[InitiationSize]byte) (*Handshake, error) {
	panic("TODO")
}

// OpenedInitiation is an initiation that has been authenticated; whether it
// is accepted (timestamp, rate) its peer's session.Machine decides.
type OpenedInitiation struct {
	Static      config.PublicKey
	Timestamp   Timestamp
	RemoteIndex uint32
	// unexported: hash, chaining key, remote ephemeral
}

// OpenInitiation authenticates an initiation (es, s, ss, {t}). find gives
// the peer by its static key, nil if there is none (ErrUnknownPeer). mac1 has
// been checked.
func (id *Identity) OpenInitiation(msg []byte, find func(config.PublicKey) *Remote) (OpenedInitiation, error) {
	panic("TODO")
}

// CreateResponse writes the response to msg, all but the MACs, and derives
// the responder's keypair. It wipes the secrets in in.
func CreateResponse(rand io.Reader, in *OpenedInitiation, r *Remote, local uint32, msg *[ResponseSize]byte) (*Keypair, error) {
	panic("TODO")
}

// OpenResponse authenticates the response to h and derives the initiator's keypair.
// h is not changed.
func (id *Identity) OpenResponse(h *Handshake, r *Remote, msg []byte) (*Keypair, error) {
	panic("TODO")
}

// Keypair is a pair of transport keys. Immutable.
type Keypair struct {
	Send, Recv              *aead.Key
	LocalIndex, RemoteIndex uint32
	Initiator               bool
}

func (k *Keypair) Wipe() {}

// Timestamp is a TAI64N label, whitened.
type Timestamp [12]byte

func NewTimestamp(t time.Time) Timestamp   { panic("TODO") }
func (t Timestamp) After(u Timestamp) bool { panic("TODO") }
func (t Timestamp) Next() Timestamp        { panic("TODO") } // the least whitened label after t
func (t Timestamp) Time() time.Time        { panic("TODO") }

// Window is the replay window: bitmap of 8192, effective 8128. The zero value is
// ready. One owner.
type Window struct{}

// Accept marks counter as seen; false if it was seen before or is too old.
func (w *Window) Accept(counter uint64) bool { panic("TODO") }

// CookieChecker is the responder's cookie side. One owner (the device wraps it
// in a mutex; it is used only under load).
type CookieChecker struct{}

func NewCookieChecker(public config.PublicKey) *CookieChecker { panic("TODO") }

// CheckMAC2 checks mac2 against the cookie of src.
func (c *CookieChecker) CheckMAC2(now clock.Time, rand io.Reader, msg []byte, src netip.AddrPort) bool {
	panic("TODO")
}

// CreateReply writes the cookie reply to an initiation or response.
func (c *CookieChecker) CreateReply(now clock.Time, rand io.Reader, msg []byte, src netip.AddrPort, reply *[CookieReplySize]byte) error {
	panic("TODO")
}

// CookieJar is the sender's side for one peer: it puts MACs on our handshake messages
// and takes cookie replies. One owner. The zero value is ready.
type CookieJar struct{}

// Seal puts mac1 and, with a cookie younger than 115 s, mac2 on msg.
func (j *CookieJar) Seal(now clock.Time, remote config.PublicKey, msg []byte) { panic("TODO") }

// TakeReply accepts one reply per mac1 sent; an error changes nothing.
func (j *CookieJar) TakeReply(now clock.Time, remote config.PublicKey, reply []byte) error {
	panic("TODO")
}
