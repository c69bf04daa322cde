package ipc

import (
	"bufio"
	"encoding/hex"
	"io"
	"strconv"

	"culvert/device/config"
)

// writeBuffer is the memory a reply goes through, in bytes.
const writeBuffer = 32 << 10

// maxRecord is more than an interface, a peer without its allowed IPs, or one
// allowed IP takes, in bytes.
const maxRecord = 768

// WriteStatus writes what a get=1 request is answered by, without errno, in
// the order wg(8) documents. It allocates nothing per peer.
func WriteStatus(w io.Writer, d Device) error {
	p := newPrinter(w)
	defer p.wipe()
	if err := p.describe(d); err != nil {
		return err
	}
	return p.w.Flush()
}

// printer writes values as UAPI text. It has one owner.
type printer struct{ w *bufio.Writer }

func newPrinter(w io.Writer) *printer { return &printer{bufio.NewWriterSize(w, writeBuffer)} }

// wipe overwrites what the buffer has seen; what is not flushed is lost.
func (p *printer) wipe() {
	p.w.Reset(io.Discard) // which also makes all of it available
	b := p.w.AvailableBuffer()
	clear(b[:cap(b)])
}

// describe writes d into the buffer; the last of it is not flushed.
func (p *printer) describe(d Device) error { return d.Describe(p.head, p.peer) }

// record is free memory in the buffer for maxRecord bytes; what is appended to
// it is to be given to w.Write, which then copies nothing.
func (p *printer) record() ([]byte, error) {
	if p.w.Available() < maxRecord {
		if err := p.w.Flush(); err != nil {
			return nil, err
		}
	}
	return p.w.AvailableBuffer(), nil
}

func (p *printer) head(i *config.Interface) error {
	b, err := p.record()
	if err != nil {
		return err
	}
	if !i.PrivateKey.IsZero() {
		b = appendKey(b, "private_key=", i.PrivateKey[:])
	}
	b = appendUint(b, "listen_port=", uint64(i.ListenPort))
	if i.FirewallMark != 0 {
		b = appendUint(b, "fwmark=", uint64(i.FirewallMark))
	}
	_, err = p.w.Write(b)
	return err
}

func (p *printer) peer(c *config.Peer) error {
	b, err := p.record()
	if err != nil {
		return err
	}
	b = appendKey(b, "public_key=", c.PublicKey[:])
	b = appendKey(b, "preshared_key=", c.PresharedKey[:])
	b = append(b, "protocol_version=1\n"...)
	if c.Endpoint.IsValid() {
		b = append(c.Endpoint.AppendTo(append(b, "endpoint="...)), '\n')
	}
	var sec, nsec uint64
	if !c.LastHandshake.IsZero() {
		sec, nsec = uint64(c.LastHandshake.Unix()), uint64(c.LastHandshake.Nanosecond())
	}
	b = appendUint(b, "last_handshake_time_sec=", sec)
	b = appendUint(b, "last_handshake_time_nsec=", nsec)
	b = appendUint(b, "tx_bytes=", c.TxBytes)
	b = appendUint(b, "rx_bytes=", c.RxBytes)
	b = appendUint(b, "persistent_keepalive_interval=", uint64(c.PersistentKeepalive))
	if _, err := p.w.Write(b); err != nil {
		return err
	}
	return p.allowedIPs(c)
}

func (p *printer) allowedIPs(c *config.Peer) error {
	for _, prefix := range c.AllowedIPs {
		b, err := p.record()
		if err != nil {
			return err
		}
		b = append(prefix.AppendTo(append(b, "allowed_ip="...)), '\n')
		if _, err := p.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func appendKey(b []byte, name string, key []byte) []byte {
	return append(hex.AppendEncode(append(b, name...), key), '\n')
}

func appendUint(b []byte, name string, n uint64) []byte {
	return append(strconv.AppendUint(append(b, name...), n, 10), '\n')
}
