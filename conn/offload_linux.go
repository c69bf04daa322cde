package conn

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// governor decides where UDP GSO is used. The kernel refuses a GSO message
//
//	EIO       the route leads through IPsec or a device without checksums
//	EMSGSIZE  the segment is larger than the path MTU
//	EINVAL    likewise, on older kernels
//
// though each datagram of it alone would go (fragmented, if need be). After
// EIO the socket goes on without GSO; the others concern only one destination.
// Fault it only when the datagrams went one by one: else GSO is not to blame.
// Safe for concurrent use.
type governor struct {
	on atomic.Bool

	// refusing holds until when to do without GSO, by destination; nil when
	// empty. Readers load it, a change replaces it.
	refusing atomic.Pointer[map[netip.Addr]time.Time]
	mu       sync.Mutex // of writers
}

const (
	// maxRefusing bounds the destinations remembered. One that finds no
	// place costs a failed system call per message.
	maxRefusing = 256
	// refusingTime is how long a destination goes without GSO before it is
	// tried again: the kernel keeps a learned path MTU for 10 minutes.
	refusingTime = time.Minute
)

// isGSOFault reports whether errno may be due to GSO.
func isGSOFault(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE
}

// allows reports whether to is sent to with GSO. The clock is read only while
// some destination refuses.
func (g *governor) allows(to netip.Addr) bool {
	if !g.on.Load() {
		return false
	}
	refusing := g.refusing.Load()
	if refusing == nil {
		return true
	}
	until, found := (*refusing)[to]
	return !found || time.Now().After(until)
}

// fault remembers that a GSO message to an address failed with errno. It
// reports whether this turned GSO off for the socket, and whether it could
// remember.
func (g *governor) fault(errno unix.Errno, to netip.Addr) (turnedOff, remembered bool) {
	if errno == unix.EIO {
		return g.on.Swap(false), true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	fresh := map[netip.Addr]time.Time{}
	if old := g.refusing.Load(); old != nil {
		maps.Copy(fresh, *old)
		maps.DeleteFunc(fresh, func(_ netip.Addr, until time.Time) bool { return now.After(until) })
	}
	if _, found := fresh[to]; !found && len(fresh) >= maxRefusing {
		return false, false
	}
	fresh[to] = now.Add(refusingTime)
	g.refusing.Store(&fresh)
	return false, true
}

// destinations is how many addresses are sent to without GSO.
func (g *governor) destinations() int {
	refusing := g.refusing.Load()
	if refusing == nil {
		return 0
	}
	n, now := 0, time.Now()
	for _, until := range *refusing {
		if now.Before(until) {
			n++
		}
	}
	return n
}
