package tun

import "encoding/binary"

// The virtio-net header goes before every packet of a TUN with IFF_VNET_HDR.
// Layout and values are those of linux/virtio_net.h, in the byte order of the
// machine:
//
//	0 flags  1 gso type  2 header length  4 gso size  6 csum start  8 csum offset
const virtioLen = 10

// VirtioLen is the size of the virtio-net header SetVirtio expects.
const VirtioLen = virtioLen

const (
	virtioNeedsChecksum = 1 // the checksum field holds the pseudo-header's sum only

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5    // "UDP_L4": datagrams of one size
	gsoECN   = 0x80 // CWR set: on the first segment only
)

type virtioHeader struct {
	flags, gsoType          byte
	headerLen, gsoSize      uint16
	checksumStart, checksum uint16 // checksum: offset of the field from checksumStart
}

// decode reads h from b, which has at least virtioLen bytes.
func (h *virtioHeader) decode(b []byte) {
	_ = b[virtioLen-1]
	h.flags, h.gsoType = b[0], b[1]
	h.headerLen = binary.NativeEndian.Uint16(b[2:])
	h.gsoSize = binary.NativeEndian.Uint16(b[4:])
	h.checksumStart = binary.NativeEndian.Uint16(b[6:])
	h.checksum = binary.NativeEndian.Uint16(b[8:])
}

// encode writes h to b, which has at least virtioLen bytes.
func (h *virtioHeader) encode(b []byte) {
	_ = b[virtioLen-1]
	b[0], b[1] = h.flags, h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.headerLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.checksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.checksum)
}
