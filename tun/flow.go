package tun

import (
	"bytes"
	"encoding/binary"
)

// The comparisons of merge.go: which header fields must be equal for two
// packets to be segments of one.

// sameFlow compares addresses and ports; both packets are of kind k.
func sameFlow(a, b []byte, k kind) bool {
	if k.v4() {
		return binary.NativeEndian.Uint64(a[12:]) == binary.NativeEndian.Uint64(b[12:]) &&
			binary.NativeEndian.Uint32(a[20:]) == binary.NativeEndian.Uint32(b[20:])
	}
	return [36]byte(a[8:44]) == [36]byte(b[8:44])
}

// sameIPv4: TOS, flags, TTL. The rest is in the flow, or checked elsewhere.
func sameIPv4(a, b []byte) bool {
	return a[1] == b[1] && binary.NativeEndian.Uint16(a[6:]) == binary.NativeEndian.Uint16(b[6:]) &&
		a[8] == b[8]
}

// sameIPv6: traffic class, flow label, hop limit.
func sameIPv6(a, b []byte) bool {
	return binary.NativeEndian.Uint32(a) == binary.NativeEndian.Uint32(b) && a[7] == b[7]
}

// nextStep tells by what the IPv4 identification went on from packet a to b,
// stepUnknown if that does not go with the step before. It may stay the same
// only where it has no meaning: in packets with DF.
func nextStep(a, b []byte, step byte) byte {
	switch delta := binary.BigEndian.Uint16(b[4:]) - binary.BigEndian.Uint16(a[4:]); {
	case delta == 1 && step != stepNone:
		return stepOne
	case delta == 0 && step != stepOne && b[6]&0x40 != 0:
		return stepNone
	}
	return stepUnknown
}

// sameTCP compares TCP headers of equal length: b must be what comes sent
// bytes after a. PSH may differ, and a alone may have CWR.
func sameTCP(a, b []byte, sent uint32) bool {
	return binary.BigEndian.Uint32(b[4:]) == binary.BigEndian.Uint32(a[4:])+sent &&
		binary.NativeEndian.Uint32(a[8:]) == binary.NativeEndian.Uint32(b[8:]) && // acknowledgement
		a[12] == b[12] && // header length, reserved bits
		(a[13]^b[13])&^(tcpPSH|tcpCWR) == 0 && b[13]&tcpCWR == 0 &&
		binary.NativeEndian.Uint16(a[14:]) == binary.NativeEndian.Uint16(b[14:]) && // window
		binary.NativeEndian.Uint16(a[18:]) == binary.NativeEndian.Uint16(b[18:]) && // urgent pointer
		bytes.Equal(a[20:], b[20:]) // options
}
