package conn

import (
	"net/netip"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// zoneCache gives addresses their zone. It remembers the last one, so that
// what comes from one link-local peer costs a comparison. A zone is the
// interface's number in decimal, which unlike its name costs no system call,
// stays the same when the interface is renamed, and is what every tool takes.
type zoneCache struct {
	plain, zoned netip.Addr
	scope        uint32
}

func (z *zoneCache) with(a netip.Addr, scope uint32) netip.Addr {
	if a != z.plain || scope != z.scope {
		*z = zoneCache{plain: a, scope: scope, zoned: a.WithZone(strconv.FormatUint(uint64(scope), 10))}
	}
	return z.zoned
}

// zoneTable turns the zone names that users write into interface numbers. Any
// goroutine may use it.
type zoneTable struct {
	names atomic.Pointer[zoneNames]
}

// zoneNames is one immutable state of a zoneTable.
type zoneNames struct {
	gen   uint32 // generation of the routes; interfaces may be others after a change
	index map[string]uint32
}

// maxZones bounds the names remembered; there are about as many as links
// with a peer on them.
const maxZones = 64

// index is the number of a zone, 0 if there is no such interface. A number is
// its own; a name is asked of the kernel once per generation, through the
// socket fd because that is in the right namespace.
func (t *zoneTable) lookup(s *linuxSocket, zone string, gen uint32) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	old := t.names.Load()
	if old != nil && old.gen == gen {
		if n, ok := old.index[zone]; ok {
			return n
		}
	}
	n := s.interfaceIndex(zone)
	fresh := &zoneNames{gen: gen, index: map[string]uint32{zone: n}}
	if old != nil && old.gen == gen && len(old.index) < maxZones {
		for k, v := range old.index {
			fresh.index[k] = v
		}
	}
	t.names.Store(fresh) // of two at once one is lost, and asked for again
	return n
}

// interfaceIndex asks the kernel for the number of an interface.
func (s *linuxSocket) interfaceIndex(name string) (index uint32) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	s.raw.Control(func(fd uintptr) {
		if unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, req) == nil {
			index = req.Uint32()
		}
	})
	return index
}
