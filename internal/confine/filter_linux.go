package confine

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A seccomp filter is a BPF program that the kernel runs at each system call, with
// struct seccomp_data of linux/seccomp.h to look at: the call's number, the
// architecture, the arguments. It only jumps forward, by 255 at most where it jumps
// on a condition.
//
// github.com/elastic/go-seccomp-bpf (1.6.0) compiles such programs too, but where
// the arguments of one call are not as they should be it goes on to compare the
// argument, which it has loaded, with the numbers of the calls that follow: who
// makes ioctl(fd, 1) has it allowed if write, which is 1, is. So this is ours.

// rule allows a system call if all tests of one of its cases hold.
type rule struct {
	call  uint32
	cases [][]test
}

// test looks at the low half of an argument, which is all that the kernel looks at
// where it is an int: it must be value after mask.
type test struct {
	arg         int // 0 to 5
	mask, value uint32
}

// policy says what becomes of each system call. What is in neither list has
// the result refusal.
type policy struct {
	arch    uint32
	foreign bool     // whether numbers from foreignCalls on are another ABI's
	always  []uint32 // allowed; the most frequent first
	rules   []rule   // allowed with some arguments, else EPERM
	never   []uint32 // the process is killed
	refusal unix.Errno
}

// foreignCalls is where x32's calls begin on amd64 (__X32_SYSCALL_BIT).
const foreignCalls = 0x40000000

// Offsets in struct seccomp_data.
const (
	numberAt   = 0
	archAt     = 4
	argumentAt = 16 // the first, of 8 bytes each; on little-endian the low half comes first
)

// What the filter can answer.
const (
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// compile makes the program. What is always allowed comes first, so that the kernel
// sees that the arguments do not count, and asks the program no more (Linux 5.11).
// Until then the n-th of always costs 4 + n instructions.
func (p *policy) compile() []bpf.Instruction {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: p.arch, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.LoadAbsolute{Off: numberAt, Size: 4},
	}
	if p.foreign {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: foreignCalls, SkipTrue: 1}, bpf.RetConstant{Val: kill})
	}
	program = append(program, anyOf(p.always, allow)...)
	for _, r := range p.rules {
		program = append(program, r.compile()...)
	}
	program = append(program, anyOf(p.never, kill)...)
	return append(program, bpf.RetConstant{Val: errno(p.refusal)})
}

// anyOf returns result if the number is in a list of at most 255, and else goes on,
// with the number loaded still.
func anyOf(calls []uint32, result uint32) (part []bpf.Instruction) {
	for i, call := range calls {
		part = append(part, bpf.JumpIf{Cond: bpf.JumpEqual, Val: call, SkipTrue: uint8(len(calls) - i)})
	}
	return append(part, bpf.Jump{Skip: 1}, bpf.RetConstant{Val: result})
}

// compile goes on where it is another call, with the number loaded still; else it
// always returns.
func (r rule) compile() []bpf.Instruction {
	var part []bpf.Instruction
	for _, tests := range r.cases {
		next := uint8(3*len(tests) + 1) // instructions of a case
		for i, t := range tests {
			part = append(part,
				bpf.LoadAbsolute{Off: argumentAt + 8*uint32(t.arg), Size: 4},
				bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: t.mask},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: t.value, SkipFalse: next - uint8(3*(i+1))},
			)
		}
		part = append(part, bpf.RetConstant{Val: allow})
	}
	part = append(part, bpf.RetConstant{Val: errno(unix.EPERM)})
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: r.call, SkipFalse: uint8(len(part))}}, part...)
}
