package ipc

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"culvert/device/config"
)

// problem is what is wrong with a value. The reason never quotes the value:
// a key pasted into the wrong line must not reach a log either.
type problem struct {
	errno  syscall.Errno
	reason string
}

func invalid(want string) *problem { return &problem{syscall.EINVAL, want} }

// unknownKey explains a key that does not belong where it stands.
func unknownKey(key []byte, where string) *problem {
	if printableKey(key) == "" {
		return invalid("no key of the protocol")
	}
	return invalid("no key that may stand " + where)
}

// printableKey is key if the protocol has it, else empty: what stands left of
// a = may be anything, also half a secret.
func printableKey(key []byte) string {
	switch k := string(key); k {
	case "private_key", "listen_port", "fwmark", "replace_peers", "public_key", "remove", "update_only",
		"preshared_key", "endpoint", "persistent_keepalive_interval", "replace_allowed_ips", "allowed_ip",
		"protocol_version", "set", "get":
		return k
	}
	return ""
}

// parseKey fills dst from 64 hexadecimal digits.
func parseKey(dst, value []byte) *problem {
	if len(value) == hex.EncodedLen(config.KeySize) {
		if _, err := hex.Decode(dst, value); err == nil {
			return nil
		}
	}
	return invalid("want 64 hexadecimal digits")
}

func parseTrue(value []byte) *problem {
	if string(value) == "true" {
		return nil
	}
	return invalid("want true")
}

func parseVersion(value []byte) *problem {
	if string(value) == "1" {
		return nil
	}
	return &problem{syscall.EPROTONOSUPPORT, "want 1, the only version there is"}
}

// maxDigits is the longest number there is, 0xffffffff, with some zeros in front. What is longer may be a key in
// the wrong line, and is not given to strconv, whose errors keep a copy.
const maxDigits = 16

func parseUint16(value []byte) (uint16, *problem) {
	n, err := uint64(0), strconv.ErrSyntax
	if len(value) <= maxDigits {
		n, err = strconv.ParseUint(string(value), 10, 16)
	}
	if err != nil {
		return 0, invalid("want a number from 0 to 65535")
	}
	return uint16(n), nil
}

// parseMark takes a firewall mark in decimal or, after 0x, hexadecimal.
func parseMark(value []byte) (uint32, *problem) {
	digits, base := value, 10
	if rest, ok := bytes.CutPrefix(value, []byte("0x")); ok {
		digits, base = rest, 16
	}
	n, err := uint64(0), strconv.ErrSyntax
	if len(digits) <= maxDigits {
		n, err = strconv.ParseUint(string(digits), base, 32)
	}
	if err != nil {
		return 0, invalid("want a number from 0 to 4294967295, decimal or with 0x")
	}
	return uint32(n), nil
}

// maxZone is the longest IPv6 zone taken, in bytes: IFNAMSIZ without its NUL.
const maxZone = 15

// parseEndpoint takes IPV4:PORT, [IPV6]:PORT and [IPV6%ZONE]:PORT; a mapped
// IPv4 address becomes an IPv4 address. Names are for wg(8) to resolve.
func parseEndpoint(value []byte) (netip.AddrPort, *problem) {
	ap, err := netip.ParseAddrPort(borrow(value))
	if err != nil || !goodZone(ap.Addr().Zone()) {
		return netip.AddrPort{}, invalid("want IPV4:PORT or [IPV6]:PORT")
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// goodZone reports whether zone is empty or can be the name of an interface.
func goodZone(zone string) bool {
	for _, c := range []byte(zone) {
		if c <= ' ' || c > '~' || c == '/' || c == ']' {
			return false
		}
	}
	return len(zone) <= maxZone
}

// parsePrefix takes ADDRESS/BITS and clears the host bits. The length must be
// there: wg(8) always sends it, and a forgotten one is more likely a mistake
// than a single address.
func parsePrefix(value []byte) (netip.Prefix, *problem) {
	prefix, err := netip.ParsePrefix(borrow(value))
	if err != nil {
		return netip.Prefix{}, invalid("want ADDRESS/BITS")
	}
	return prefix.Masked(), nil
}

// borrow is b as a string without a copy. It is safe where the string does
// not outlive the call it is passed to: netip keeps nothing of its argument
// but in errors, which are thrown away here, and clones zones (package unique).
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
