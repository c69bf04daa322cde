package device

import "encoding/binary"

// Explicit congestion notification over the tunnel (RFC 6040, normal mode: the
// outer field is a copy of the inner one) and the traffic class of messages
// that carry no inner packet.
const (
	ecnMask   = 3
	ecnNotECT = 0
	ecnECT1   = 1
	ecnECT0   = 2
	ecnCE     = 3

	// tosHandshake is DSCP AF41, as the kernel gives to handshakes
	// (drivers/net/wireguard/messages.h, HANDSHAKE_DSCP).
	tosHandshake = 0x88
)

// outerTOS is the outer traffic class for an inner packet: its ECN field and no
// DSCP, which would tell strangers about the inside.
func outerTOS(ip []byte) byte {
	if ip[0]>>4 == 4 {
		return ip[1] & ecnMask
	}
	return ip[1] >> 4 & ecnMask
}

// decapsulateECN folds what the outer field met on the way into the inner one
// (RFC 6040, section 4.2, figure 4): CE, and ECT(1) in place of ECT(0). False:
// congestion that the inner sender cannot be told of, so the packet must be
// dropped.
func decapsulateECN(ip []byte, outer byte) bool {
	inner := outerTOS(ip)
	outer &= ecnMask
	switch {
	case inner == ecnNotECT:
		return outer != ecnCE
	case outer == ecnCE && inner != ecnCE, outer == ecnECT1 && inner == ecnECT0:
		setECN(ip, outer)
	}
	return true
}

// setECN changes the ECN field of ip.
func setECN(ip []byte, ecn byte) {
	if ip[0]>>4 == 6 {
		ip[1] = ip[1]&^(ecnMask<<4) | ecn<<4
		return
	}
	// IPv4: the header checksum follows (RFC 1624, equation 3).
	sum := uint32(^binary.BigEndian.Uint16(ip[10:]))
	sum += uint32(^binary.BigEndian.Uint16(ip[0:]))
	ip[1] = ip[1]&^ecnMask | ecn
	sum += uint32(binary.BigEndian.Uint16(ip[0:]))
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}
