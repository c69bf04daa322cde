package conn

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"culvert/internal/offload"

	"golang.org/x/sys/unix"
)

// governor decides where UDP GSO is used. The kernel refuses a GSO message
//
//	EIO       the route leads through IPsec or, not on newer kernels (6.18), a
//	          device without checksums
//	EMSGSIZE  the segment is larger than the path MTU
//	EINVAL    likewise, on older kernels
//
// though each datagram of it alone would go (fragmented, if need be). After
// EIO the socket goes on without GSO; the others concern only one destination.
// Either is tried again after offload.Retry, and when routes or links change.
// Fault it only when the datagrams went one by one: else GSO is not to blame.
// Safe for concurrent use.
type governor struct {
	offload.Switch // of the socket

	// refusing are the destinations that do without GSO; nil when empty.
	// Readers load it, a change replaces it.
	refusing atomic.Pointer[map[netip.Addr]offload.Refusal]
	mu       sync.Mutex // of writers
}

// maxRefusing bounds the destinations remembered. One that finds no place costs
// a failed system call per message.
const maxRefusing = 256

// isGSOFault reports whether errno may be due to GSO.
func isGSOFault(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE
}

// allows reports whether to is sent to with GSO. The clock is read only while
// some destination refuses.
func (g *governor) allows(to netip.Addr) bool {
	if !g.On() {
		return false
	}
	refusing := g.refusing.Load()
	if refusing == nil {
		return true
	}
	r, found := (*refusing)[to]
	return !found || !r.Holds(time.Now())
}

// fault remembers that a GSO message to an address failed with errno. It
// reports whether this turned GSO off for the socket, which it did not before,
// and whether it could remember.
func (g *governor) fault(errno unix.Errno, to netip.Addr) (turnedOff, remembered bool) {
	if errno == unix.EIO {
		return g.Refuse(unix.ErrnoName(errno)), true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	fresh := map[netip.Addr]offload.Refusal{}
	if old := g.refusing.Load(); old != nil {
		maps.Copy(fresh, *old)
		maps.DeleteFunc(fresh, func(_ netip.Addr, r offload.Refusal) bool { return r.Forgotten(now) })
	}
	if _, found := fresh[to]; !found && len(fresh) >= maxRefusing {
		return false, false
	}
	fresh[to] = fresh[to].Again(unix.ErrnoName(errno), now)
	g.refusing.Store(&fresh)
	return false, true
}

// forgive gives GSO another chance everywhere: routes, links or MTUs changed.
func (g *governor) forgive() {
	g.Forgive()
	g.refusing.Store(nil)
}

// states are what a status shows of GSO on the socket called where: first of
// the socket, then of the destinations that do without, in order.
func (g *governor) states(where string) []offload.State {
	all := []offload.State{g.State(where, "gso")}
	refusing := g.refusing.Load()
	if refusing == nil {
		return all
	}
	now := time.Now()
	for _, to := range slices.SortedFunc(maps.Keys(*refusing), netip.Addr.Compare) {
		if r := (*refusing)[to]; r.Holds(now) {
			s := r.State(where, "gso")
			s.To = to.String()
			all = append(all, s)
		}
	}
	return all
}

// damagesGSO reports whether a kernel of this release (uname -r) is known to
// corrupt the headers of what it segments, without any error: 7.0.0 to 7.1.4
// (github.com/tailscale/tailscale issues 19777 and 21335, pull request 19918: it
// came with Linux commit b10b446, and depends on the card). Distributions may
// have mended theirs under the same number: Options.ForceGSO.
func damagesGSO(release string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch); n < 2 {
		return false
	}
	return major == 7 && (minor == 0 || minor == 1 && patch <= 4)
}

// kernelRelease is what uname -r says; empty if it says nothing.
func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
