//go:build !amd64

package chachapoly

// Kernels are those that this processor can run, the best first: none here.
func Kernels() []*Kernel { return nil }

// WipeRegisters is about kernels.
func WipeRegisters() {}

// Seal encrypts all messages and appends their tags.
func (n *Kernel) Seal(*Key, []Message) { panic("BUG: chachapoly: no kernel for this processor") }

// Open decrypts the messages whose tags are right.
func (n *Kernel) Open(*Key, []Message) { panic("BUG: chachapoly: no kernel for this processor") }
