package conn

import "errors"

var (
	// errNoEndpoint is the Err of a run without an address to send to.
	errNoEndpoint = errors.New("no endpoint to send to")
	// errNoFamily is the Err of a run to an address family there is no
	// socket for.
	errNoFamily = errors.New("no socket of the endpoint's address family")
)

// socketBuffer is what each socket buffers in each direction: what the
// kernel's and other daemons' users are used to, some 4,600 full datagrams.
const socketBuffer = 7 << 20
