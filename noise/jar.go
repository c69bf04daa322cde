package noise

import (
	"golang.org/x/crypto/chacha20poly1305"

	"culvert/device/config"
	"culvert/internal/clock"
)

// CookieJar is the sender's side of cookies for one peer: it puts MACs on our
// handshake messages and takes cookie replies. One owner. The zero value is
// ready. It takes 8 bytes, and 48 more from the first message on.
type CookieJar struct{ s *jarState }

type jarState struct {
	cookie  [cookieSize]byte
	taken   clock.Time    // when the cookie came; zero: there is none
	mac1    [macSize]byte // of the last message sent
	waiting bool          // mac1 has had no reply yet
}

// Seal puts mac1 and, with a cookie younger than 115 s, mac2 on msg, an
// initiation or response to remote; without one mac2 is zero. It
// remembers mac1: the reply to this message is the one that counts from now on.
func (j *CookieJar) Seal(now clock.Time, remote config.PublicKey, msg []byte) {
	if !hasMACs(msg) {
		panic("BUG: noise: no place for MACs")
	}
	if j.s == nil {
		j.s = new(jarState)
	}
	before, mac1 := mac1Of(msg)
	key := mac1Key(&remote)
	j.s.mac1 = mac(key[:], before)
	j.s.waiting = true
	copy(mac1, j.s.mac1[:])

	before, mac2 := mac2Of(msg)
	clear(mac2)
	if !j.s.taken.IsZero() && now.Sub(j.s.taken) < cookieAge {
		sum := mac(j.s.cookie[:], before)
		copy(mac2, sum[:])
	}
}

// TakeReply keeps the cookie of remote's reply. It accepts one reply per mac1
// sent. An error changes nothing: ErrMalformed, ErrUnexpectedCookie, ErrCookieAuth.
func (j *CookieJar) TakeReply(now clock.Time, remote config.PublicKey, reply []byte) error {
	m, err := ParseCookieReply(reply)
	if err != nil {
		return err
	}
	if j.s == nil || !j.s.waiting {
		return ErrUnexpectedCookie
	}
	key := labelledKey(labelCookie, &remote)
	a, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return ErrCookieAuth // Go's FIPS 140-only mode
	}
	cookie, err := a.Open(m.Cookie[:0], m.Nonce[:], m.Cookie[:], j.s.mac1[:])
	if err != nil {
		return ErrCookieAuth
	}
	j.s.cookie = [cookieSize]byte(cookie)
	j.s.taken = now
	j.s.waiting = false
	return nil
}
