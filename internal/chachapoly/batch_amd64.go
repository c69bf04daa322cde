package chachapoly

import "golang.org/x/sys/cpu"

var avx512 = &Kernel{Name: "avx512", Batch: batch512, Least: 3}

// Kernels are those that this processor can run, the best first.
func Kernels() (all []*Kernel) {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512IFMA {
		all = append(all, avx512)
	}
	return all
}

// Seal encrypts all messages and appends their tags, in place. They have room for
// a tag. Nothing is allocated: the calls are direct, so that messages may be on the
// caller's stack.
func (n *Kernel) Seal(k *Key, messages []Message) { k.seal512(messages) }

// Open decrypts the messages whose tags are right, in place, and marks the others
// as bad: those stay as they are. They have room for a tag. Nothing is allocated.
func (n *Kernel) Open(k *Key, messages []Message) { k.open512(messages) }
