//go:build !amd64

package chachapoly

// Supported tells whether Seal and Open work on this processor.
const Supported = false

// Seal encrypts all messages and appends their tags.
func (k *Key) Seal([]Message) { panic("BUG: chachapoly: no kernel for this processor") }

// Open decrypts the messages whose tags are right.
func (k *Key) Open([]Message) { panic("BUG: chachapoly: no kernel for this processor") }
