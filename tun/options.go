package tun

import "errors"

// ErrDeleted is what Read returns when the interface was deleted from outside.
var ErrDeleted = errors.New("tun: the interface was deleted")

// Options turn off what a kernel or card has a fault in. The zero value uses
// all the kernel offers, and one queue.
type Options struct {
	NoTSO bool // the kernel hands over, and is handed, no TCP super-packets
	NoUSO bool // likewise UDP
	NoGRO bool // packets written are never merged; those read may still be super-packets

	// Queues is how many queues the interface has, at most MaxQueues; 0 is 1.
	// More than one are for an interface that Create makes on Linux.
	Queues int
}

// MaxQueues bounds Options.Queues: the kernel takes 256 files per interface
// (MAX_TAP_QUEUES), and each queue uses two.
const MaxQueues = 64

// errOneQueue is the answer of who cannot have more.
var errOneQueue = errors.New("tun: several queues are for an interface that is made on Linux, not for one that is handed down: use one")

// Stats are counters since the device was made, and the state of its offloads.
type Stats struct {
	Malformed   uint64 `json:"malformed"`    // packets read that were no IP packets or had impossible virtio headers; skipped
	SuperRead   uint64 `json:"super_read"`   // super-packets read
	SuperWrites uint64 `json:"super_writes"` // super-packets written
	Merged      uint64 `json:"merged"`       // packets written as part of those
	WriteErrors uint64 `json:"write_errors"` // packets the system did not take
	Refused     uint64 `json:"refused"`      // super-packets the kernel refused and took as single packets
	ReadErrors  uint64 `json:"read_errors"`  // reads that failed, of which one packet may have been lost each

	ReadTSO, ReadUSO bool `json:"-"` // the kernel hands over TCP and UDP super-packets
	// Which packets are merged when written. What a kernel refuses (EINVAL) is
	// not tried again for a minute, unless MTU or state of the link change.
	MergeTCP4, MergeTCP6, MergeUDP4, MergeUDP6 bool `json:"-"`
}

// A StatsSource is a Device that counts. The Linux device is one.
type StatsSource interface {
	// Stats may be called by any goroutine.
	Stats() Stats
}
