package conn

import (
	"errors"
	"time"
)

var (
	// errNoEndpoint is the Err of a run without an address to send to.
	errNoEndpoint = errors.New("no endpoint to send to")
	// ErrNoFamily is the Err of a run to an address family there is no
	// socket for.
	ErrNoFamily = errors.New("no socket of the endpoint's address family")
	// errFull is the Err of a run that did not fit into the send buffer.
	errFull = errors.New("the send buffer stays full: a link takes less than is sent over it")
)

// Broken reports whether err says that a socket itself is of no use any more, rather
// than that a datagram could not go: others have to be opened.
func Broken(err error) bool { return isBroken(err) }

const (
	// socketBuffer is what a socket keeps of what was not received yet: what
	// the kernel's and other daemons' users are used to, some 4,600 full datagrams.
	// Portable sockets send with that, too: some systems refuse more than 8 MiB.
	socketBuffer = 7 << 20
	// sendBuffer bounds what waits in the queues of all links together. It is
	// more than one of them holds (fq_codel 32 MiB; pfifo_fast 1,000 messages, so
	// of 64 KiB with GSO), so that a link which takes nothing is full, and drops,
	// before the socket is: else it would block the peers behind every other. The
	// kernel counts twice of it and allocates nothing in advance; its own
	// WireGuard has no such bound at all.
	sendBuffer = 64 << 20
	// sendPatience is how long a full send buffer is waited for. What does not fit
	// then is dropped, and until something fits again nothing is waited for.
	sendPatience = 100 * time.Millisecond
)
