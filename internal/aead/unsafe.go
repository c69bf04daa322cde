package aead

import (
	"crypto/cipher"
	"crypto/subtle"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"
)

// secretOf finds the copy of key that a keeps: x/crypto's AEAD is a pointer to a
// struct whose first field is the key. It is nil when a is not of that shape
// or the bytes found there are not key, so that Wipe never writes to memory it does
// not understand.
func secretOf(a cipher.AEAD, key *[KeySize]byte) *[KeySize]byte {
	v := reflect.ValueOf(a)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct || v.Elem().NumField() == 0 {
		return nil
	}
	f := v.Elem().Field(0)
	if f.Type() != reflect.TypeFor[[KeySize]byte]() {
		return nil
	}
	secret := (*[KeySize]byte)(unsafe.Pointer(f.UnsafeAddr()))
	if subtle.ConstantTimeCompare(secret[:], key[:]) != 1 {
		return nil
	}
	return secret
}

// noescape hides from the compiler that a nonce is handed to an interface
// method, which would otherwise put it on the heap: one allocation per packet.
// It is safe because an AEAD reads its nonce during the call and keeps no
// reference to it, and because n points into the caller's live frame: when the
// stack moves, what is returned here is a pointer like any other and moves with it.
//
//go:nosplit
func noescape(n *[chacha20poly1305.NonceSize]byte) *[chacha20poly1305.NonceSize]byte {
	var p *[chacha20poly1305.NonceSize]byte
	*(*uintptr)(unsafe.Pointer(&p)) = uintptr(unsafe.Pointer(n))
	return p
}
