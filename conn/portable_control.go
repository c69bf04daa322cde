package conn

import (
	"net"
	"net/netip"

	xipv4 "golang.org/x/net/ipv4"
	xipv6 "golang.org/x/net/ipv6"
)

// askControl asks for the destination, interface and (IPv6) traffic class of
// what comes in. It returns the room they take, 0 where the system tells none.
func askControl(c *net.UDPConn, f family) int {
	if f == ipv4 {
		const want = xipv4.FlagDst | xipv4.FlagInterface
		if xipv4.NewPacketConn(c).SetControlMessage(want, true) != nil {
			return 0
		}
		return len(xipv4.NewControlMessage(want))
	}
	const want = xipv6.FlagDst | xipv6.FlagInterface | xipv6.FlagTrafficClass
	if xipv6.NewPacketConn(c).SetControlMessage(want, true) != nil {
		return 0
	}
	return len(xipv6.NewControlMessage(want))
}

// parsePortableControl reads what came with a datagram into m.
func parsePortableControl(f family, oob []byte, m *Message) {
	if len(oob) == 0 {
		return
	}
	var dst net.IP
	if f == ipv4 {
		var cm xipv4.ControlMessage
		if cm.Parse(oob) != nil {
			return
		}
		dst, m.IfIndex = cm.Dst, uint32(cm.IfIndex)
	} else {
		var cm xipv6.ControlMessage
		if cm.Parse(oob) != nil {
			return
		}
		dst, m.IfIndex = cm.Dst, uint32(cm.IfIndex)
		m.TOS = byte(cm.TrafficClass)
	}
	if a, ok := netip.AddrFromSlice(dst); ok && !a.Unmap().IsMulticast() && !a.IsUnspecified() {
		m.Local = a.Unmap()
	}
}

// portableControl is the control data that r goes with; nil where there is
// none or the system takes none.
func portableControl(f family, r *Run, withSource bool) []byte {
	local := r.To.Local
	withSource = withSource && local.IsValid() && familyOf(local) == f
	if f == ipv4 {
		if !withSource {
			return nil
		}
		cm := xipv4.ControlMessage{Src: local.AsSlice()}
		return cm.Marshal()
	}
	cm := xipv6.ControlMessage{TrafficClass: int(r.TOS)}
	if withSource {
		cm.Src = local.AsSlice()
		if local.IsLinkLocalUnicast() {
			cm.IfIndex = int(r.To.IfIndex)
		}
	}
	if r.TOS == 0 && !withSource {
		return nil
	}
	return cm.Marshal()
}
