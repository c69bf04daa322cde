// Package cryptobench measures the kernels of internal/aead side by side, for
// culvert bench crypto.
//
// A step is one operation on packets of one size, so many in a call. Within it the
// kernels take turns in slices of some milliseconds, there and back (a b c, c b a),
// so that what else the machine does hits all of them alike. A kernel's figure is
// the median of its slices.
//
// The calls are those of the data path: packets laid out as a batch of the daemon
// has them, in place, under one key. A call of fewer packets than a kernel is worth
// goes to x/crypto, as it does there. Sealing never repeats a counter. What is opened
// has to be put back each time, and that copy counts, for all alike.
//
// It reads no clock: Options has one.
package cryptobench

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"culvert/internal/aead"
)

// Operations.
const (
	Seal = "seal"
	Open = "open"
)

// Batch is how many packets the daemon seals or opens in a call at the most.
const Batch = 32

// MaxSize is the largest plaintext that a UDP datagram can carry: IPv4's and UDP's
// headers, WireGuard's and the tag are the rest of 65,535 bytes.
const MaxSize = 65_535 - 20 - 8 - header - aead.Overhead

// header is that of a transport message, which lies before its ciphertext.
const header = 16

// ErrStopped is Run's error when it was told to stop.
var ErrStopped = errors.New("interrupted")

// Options say what to measure, and for how long.
type Options struct {
	Kernels []string      // names of aead.Kernels; x/crypto is added, as all are compared with it
	Sizes   []int         // of plaintexts in bytes, 1 to MaxSize
	Time    time.Duration // for everything; more if that is less than a few slices each

	Now      func() time.Duration // a clock that never goes back
	Stop     func() bool          // asked before each slice
	Progress func(Progress)       // told before each step
}

// A Step is what is measured together.
type Step struct {
	Operation string
	Size      int // bytes of plaintext
	Messages  int // in a call
}

func (s Step) String() string {
	return fmt.Sprintf("%s %d bytes, %d in a call", s.Operation, s.Size, s.Messages)
}

// Progress is what is being measured, and how much is left with it.
type Progress struct {
	Step
	Number, Of int // from 1
	Left       time.Duration
}

// Run measures. On ErrStopped the rows of the steps that were done are there. Another
// error is a kernel that is not there or computes wrongly.
func Run(o Options) ([]Row, error) {
	names := o.kernels()
	b, err := newBench(&o, names)
	if err != nil {
		return nil, err
	}
	var rows []Row
	steps := o.steps()
	end := o.Now() + o.Time
	for i, s := range steps {
		now := o.Now()
		left := max(0, end-now)
		o.Progress(Progress{s, i + 1, len(steps), left})
		share := left / time.Duration(len(steps)-i)
		all, err := b.step(s, now+share, slice(share, len(names)))
		if err != nil {
			return rows, err
		}
		rows = append(rows, newRows(s, names, all)...)
	}
	return rows, nil
}

// kernels are those to measure, each once, x/crypto the last.
func (o *Options) kernels() (names []string) {
	for _, name := range o.Kernels {
		if name != aead.Generic && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return append(names, aead.Generic)
}

// steps are in the order in which they are measured and told.
func (o *Options) steps() (steps []Step) {
	for _, operation := range []string{Seal, Open} {
		for _, messages := range []int{1, Batch} {
			for i, size := range o.Sizes {
				if !slices.Contains(o.Sizes[:i], size) {
					steps = append(steps, Step{operation, size, messages})
				}
			}
		}
	}
	return steps
}
