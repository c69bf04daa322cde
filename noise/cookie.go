package noise

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"culvert/device/config"
	"culvert/internal/clock"
)

// A cookie is MAC(secret, source address and port): it proves that its bearer
// receives at that address. The responder keeps only the secret (paper, section 5.4.7).
const (
	cookieSize  = macSize
	labelCookie = "cookie--"

	// cookieSecretAge is how long a secret makes and checks cookies (COOKIE_SECRET_MAX_AGE).
	cookieSecretAge = 120 * time.Second
	// cookieAge is how long an initiator uses a cookie: the secret's age less 5 s
	// for the way (COOKIE_SECRET_LATENCY).
	cookieAge = cookieSecretAge - 5*time.Second
)

// CookieChecker is the responder's cookie side. One owner (the device wraps it
// in a mutex; it is used only under load).
type CookieChecker struct {
	key    [keySize]byte // encrypts our replies
	secret keyed
	born   clock.Time // of secret; zero: there is none yet
	hasher Hasher
	src    [16 + 2]byte // address and port that a cookie is made of
}

// NewCookieChecker makes the checker of the identity with that public key.
func NewCookieChecker(public config.PublicKey) *CookieChecker {
	return &CookieChecker{key: labelledKey(labelCookie, &public)}
}

// Wipe overwrites the secret, and what checks with it left; a cookie made with it is wrong from then on.
func (c *CookieChecker) Wipe() {
	c.secret, c.born = keyed{}, 0
	c.hasher.wipe()
}

// HasCookie reports whether mac2 of an initiation or response is there, right or wrong. False for
// every other message.
func HasCookie(msg []byte) bool {
	if !hasMACs(msg) {
		return false
	}
	_, mac2 := mac2Of(msg)
	return [macSize]byte(mac2) != [macSize]byte{}
}

// CheckMAC2 checks mac2 of an initiation or response from src against the
// cookie of src, in constant time. False for every other message, and when rand
// fails while a new secret is due. rand gives 32 bytes every 120 s at most. It
// allocates nothing but then.
func (c *CookieChecker) CheckMAC2(now clock.Time, rand io.Reader, msg []byte, src netip.AddrPort) bool {
	if !HasCookie(msg) {
		return false
	}
	before, mac2 := mac2Of(msg)
	cookie, err := c.cookie(now, rand, src)
	if err != nil {
		return false
	}
	want := c.hasher.macOnce(cookie[:], before)
	return subtle.ConstantTimeCompare(want[:], mac2) == 1
}

// CreateReply writes to reply the cookie reply to msg, an initiation or response whose mac1
// is good. It takes 24 bytes of rand, and 32 every 120 s. On error (ErrMalformed, or rand's) reply is
// unchanged.
func (c *CookieChecker) CreateReply(now clock.Time, rand io.Reader, msg []byte, src netip.AddrPort, reply *[CookieReplySize]byte) error {
	if !hasMACs(msg) {
		return ErrMalformed
	}
	cookie, err := c.cookie(now, rand, src)
	if err != nil {
		return err
	}
	m := CookieReply{Receiver: binary.LittleEndian.Uint32(msg[4:])} // its Sender
	if _, err := io.ReadFull(rand, m.Nonce[:]); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	a, err := chacha20poly1305.NewX(c.key[:])
	if err != nil {
		return fmt.Errorf("prepare cookie key: %w", err) // Go's FIPS 140-only mode
	}
	_, mac1 := mac1Of(msg)
	a.Seal(m.Cookie[:0], m.Nonce[:], cookie[:], mac1)
	m.Put(reply)
	return nil
}

// cookie is the cookie of src, made with the current secret.
func (c *CookieChecker) cookie(now clock.Time, rand io.Reader, src netip.AddrPort) (cookie [cookieSize]byte, err error) {
	if c.born.IsZero() || now.Sub(c.born) >= cookieSecretAge {
		var fresh [keySize]byte
		if _, err := io.ReadFull(rand, fresh[:]); err != nil {
			return cookie, fmt.Errorf("read randomness: %w", err)
		}
		c.secret, c.born = c.hasher.prepare(fresh[:]), now
		clear(fresh[:])
	}
	addr := c.src[:0]
	if ip := src.Addr().Unmap(); ip.Is4() {
		a := ip.As4()
		addr = append(addr, a[:]...)
	} else {
		a := ip.As16()
		addr = append(addr, a[:]...)
	}
	return c.hasher.mac(&c.secret, binary.BigEndian.AppendUint16(addr, src.Port())), nil
}
