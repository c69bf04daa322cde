// Package noise is WireGuard's cryptography of messages: the codecs, the
// handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the keypair it ends in, the
// replay window, the MACs and cookies, and TAI64N labels. The rules are those
// of the paper ("WireGuard: Next Generation Kernel Network Tunnel", section 5.4)
// and of the Noise specification, revision 34.
//
// The handshake, in the tokens that mark the code:
//
//	<- s
//	...
//	-> e, es, s, ss, {t}     initiation   CreateInitiation, OpenInitiation
//	<- e, ee, se, psk, {}    response     CreateResponse, OpenResponse
//
// e is an ephemeral key and s a static one, as sent; es, ss, ee, se are the
// Diffie-Hellman results of the initiator's key (first letter) and the
// responder's (second); psk is the preshared key, all zeros if there is none;
// {t} and {} are an encrypted timestamp and an encrypted nothing.
//
// # Purity
//
// The package does no I/O, starts no goroutine, takes no lock and reads no
// clock: time and randomness are passed in. What is immutable says so and
// may be used by any goroutine; everything else has one owner. A function
// that fails has changed nothing but what its doc says.
//
// # Cost
//
// Nearly all of it is X25519 (internal/x25519): d is a DH (21 us on the machine of development), g
// the making of a key pair, 0.63 d. Each function of a message has a type that is the same in
// parts, with the DHs of many messages between them: with AVX-512, 8 of them take 1.2 d, d or g
// all the same. docs/performance.md has the whole.
//
//	NewIdentity       g       (the public key: once per private key)
//	StaticShared      d       (ss: once per peer and identity; keep it in Remote.Shared)
//	CreateInitiation  g + d   (e; es)                             InitiationBuilder
//	OpenInitiation    d       (es; nothing further for a stranger)  InitiationOpener
//	CreateResponse    g + 2d  (e; ee, se)                         ResponseBuilder
//	OpenResponse      2d      (ee, se)                            ResponseOpener
//	CheckMAC1, CheckMAC2, CreateReply   none: the gates in front of the others
//
// # Secrets
//
// What this package holds it wipes: chaining keys, message keys and DH results
// when a function returns, handshakes with their ephemeral key and keypairs with their
// Wipe methods. An identity, which others may be using, is only dropped, and lives
// until the collector reuses the memory; so do copies that the compiler or a growing
// stack left behind.
// No error and no String method tells a secret.
package noise
