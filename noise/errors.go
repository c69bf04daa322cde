package noise

import "errors"

// The classes of failure. They come as they are, never wrapped; only an
// error of the source of randomness has another identity. Each left its
// receiver and arguments unchanged, unless the function says otherwise.
var (
	// ErrZeroKey: a private key of all zeros is no identity (the user's doing).
	ErrZeroKey = errors.New("private key is all zeros")
	// ErrLowOrder: a Diffie-Hellman result is all zeros, since a public key is a
	// point of low order (RFC 7748, section 6.1).
	ErrLowOrder = errors.New("public key is a low-order point")
	// ErrMalformed: wrong type, reserved bytes or length.
	ErrMalformed = errors.New("malformed message")
	// ErrStaticAuth: the initiator's static key does not decrypt: garbage, or made for another public key.
	ErrStaticAuth = errors.New("initiation: static key does not authenticate")
	// ErrUnknownPeer: the initiation is from a public key that is no peer.
	ErrUnknownPeer = errors.New("initiation: unknown peer")
	// ErrTimestampAuth: the timestamp does not decrypt: the sender does not own the static key it names.
	ErrTimestampAuth = errors.New("initiation: timestamp does not authenticate")
	// ErrWrongReceiver: the response is to another handshake.
	ErrWrongReceiver = errors.New("response: not for this handshake")
	// ErrResponseAuth: the response does not decrypt: garbage, or the preshared keys differ.
	ErrResponseAuth = errors.New("response: does not authenticate (do the preshared keys differ?)")
	// ErrUnexpectedCookie: no message of ours waits for a cookie reply.
	ErrUnexpectedCookie = errors.New("cookie reply: not expected")
	// ErrCookieAuth: the cookie does not decrypt: not from our peer, or to another message.
	ErrCookieAuth = errors.New("cookie reply: does not authenticate")
)
