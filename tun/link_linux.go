package tun

import (
	"encoding/binary"
	"errors"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkState is what rtnetlink tells of an interface.
type linkState struct {
	index int32
	name  string
	mtu   int
	up    bool // IFF_UP: as the user set it
}

// txQueueLen is how many packets the kernel keeps for us. TUN's default of 500
// drops bursts; 1000 is what the kernel gives an Ethernet card.
const txQueueLen = 1000

// dialRoute opens an rtnetlink socket in the namespace of the calling thread.
func dialRoute(groups uint32) (*netlink.Conn, error) {
	return netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
}

// ifinfo is struct ifinfomsg of linux/rtnetlink.h: family, type, index, flags,
// mask of flags to change.
func ifinfo(index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// parseLink reads RTM_NEWLINK and RTM_DELLINK. False for messages of other
// families (a bridge port has its own) and malformed ones.
func parseLink(b []byte) (linkState, bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return linkState{}, false
	}
	s := linkState{
		index: int32(binary.NativeEndian.Uint32(b[4:])),
		up:    binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0,
	}
	attrs, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return linkState{}, false
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.IFLA_IFNAME:
			s.name = attrs.String()
		case unix.IFLA_MTU:
			s.mtu = int(attrs.Uint32())
		}
	}
	return s, attrs.Err() == nil
}

// linkRequest sends one request about a link.
func linkRequest(c *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, info []byte, attrs func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	encoder := netlink.NewAttributeEncoder()
	attrs(encoder)
	encoded, err := encoder.Encode()
	if err != nil {
		return nil, err
	}
	return c.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
		Data:   append(info, encoded...),
	})
}

// getLink asks for the interface called name in the namespace with that number,
// or, with here, in the socket's own.
func getLink(c *netlink.Conn, number int32, name string) (linkState, error) {
	replies, err := linkRequest(c, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, name)
		if number != here {
			e.Int32(unix.IFLA_TARGET_NETNSID, number)
		}
	})
	if err != nil {
		return linkState{}, err
	}
	for _, m := range replies {
		if s, ok := parseLink(m.Data); ok && s.name == name {
			return s, nil
		}
	}
	return linkState{}, errors.New("no answer about the interface")
}

// setLink asks for one change. What the system does not let us do is left.
func setLink(c *netlink.Conn, info []byte, attrs func(*netlink.AttributeEncoder)) {
	_, _ = linkRequest(c, unix.RTM_SETLINK, netlink.Acknowledge, info, attrs)
}

// setUpLink sets the MTU, a longer queue, and, as the kernel's WireGuard has
// it, no multicast, so that no MLD reports are sent that match no peer.
func setUpLink(c *netlink.Conn, index int32, mtu int) {
	if mtu > 0 {
		setLink(c, ifinfo(index, 0, 0), func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_MTU, uint32(mtu)) })
	}
	setLink(c, ifinfo(index, 0, 0), func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_TXQLEN, txQueueLen) })
	setLink(c, ifinfo(index, 0, unix.IFF_MULTICAST), func(*netlink.AttributeEncoder) {})
}

// setUpFamilies gives the interface what the kernel's own WireGuard has: no
// IPv6 link-local address (and with it no router solicitations) and no
// redirects. A move to another namespace undoes this.
func setUpFamilies(c *netlink.Conn, index int32) {
	setLink(c, ifinfo(index, 0, 0), familySetting(unix.AF_INET6, func(e *netlink.AttributeEncoder) {
		const addrGenMode, none = 8, 1 // IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE
		e.Uint8(addrGenMode, none)
	}))
	setLink(c, ifinfo(index, 0, 0), familySetting(unix.AF_INET, func(e *netlink.AttributeEncoder) {
		const conf, sendRedirects = 1, 6 // IFLA_INET_CONF, IPV4_DEVCONF_SEND_REDIRECTS
		e.Nested(conf, func(e *netlink.AttributeEncoder) error {
			e.Uint32(sendRedirects, 0)
			return nil
		})
	}))
}

// familySetting wraps attributes of one address family.
func familySetting(family uint16, attrs func(*netlink.AttributeEncoder)) func(*netlink.AttributeEncoder) {
	return func(e *netlink.AttributeEncoder) {
		e.Nested(unix.IFLA_AF_SPEC, func(e *netlink.AttributeEncoder) error {
			e.Nested(family, func(e *netlink.AttributeEncoder) error {
				attrs(e)
				return nil
			})
			return nil
		})
	}
}

// sendRedirectsOff completes setUpFamilies as the kernel's WireGuard does: the
// setting of one interface counts only when the one for all is off too.
func sendRedirectsOff() {
	_ = os.WriteFile("/proc/sys/net/ipv4/conf/all/send_redirects", []byte("0"), 0)
}
