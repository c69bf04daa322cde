//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"net"

	"culvert/conn"
	"culvert/tun"
)

// slots is the number of (merged) datagrams received together.
const slots = 32

// inbound takes the packets out of what was received and writes them together.
func inbound(r conn.Receiver, to tun.Device) error {
	b := conn.NewBatch(slots)
	var packets [][]byte
	for {
		if err := r.Receive(b); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		packets = packets[:0]
		for i := range b.Messages {
			m := &b.Messages[i]
			for rest := m.Data; len(rest) > 0; {
				datagram := rest[:min(m.Segment, len(rest))]
				rest = rest[len(datagram):]
				if n := packetLen(datagram); n > 0 {
					packets = append(packets, datagram[:header+n])
				}
			}
		}
		to.Write(packets, header) // an error names what the interface, being down, did not take
	}
}

// packetLen is the length of the packet in a datagram, 0 if there is none.
func packetLen(datagram []byte) (n int) {
	if len(datagram) < header+20+tag {
		return 0
	}
	switch ip := datagram[header:]; ip[0] >> 4 {
	case 4:
		n = int(binary.BigEndian.Uint16(ip[2:]))
	case 6:
		n = 40 + int(binary.BigEndian.Uint16(ip[4:]))
	}
	if n > len(datagram)-header-tag {
		return 0
	}
	return n
}
