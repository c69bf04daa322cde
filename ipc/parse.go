package ipc

import (
	"bytes"
	"io"
	"sync/atomic"
	"syscall"
	"unsafe"

	"culvert/device/config"
)

// MaxRequest bounds the memory of one parsed request, in bytes: room for 2^20
// peers with three allowed IPs each.
const MaxRequest = 288 << 20

// What one more of each costs, in bytes.
const (
	peerCost      = int64(unsafe.Sizeof(config.PeerUpdate{}))
	allowedIPCost = int64(unsafe.Sizeof(config.AllowedIP{}))
)

// ReadUpdate parses the lines of a set=1 request without that first line, up
// to an empty line or the end of r. An error is an *Error, whose Line counts
// the set=1 line, or the one of r. Nothing of a request with an error is
// returned. The caller wipes the keys when they are applied.
func ReadUpdate(r io.Reader) (*config.Update, error) {
	lines := newLines(r)
	defer lines.wipe()
	p := newParser(nil)
	for lines.Scan() && len(lines.Bytes()) > 0 {
		if err := p.add(lines.Bytes()); err != nil {
			p.release()
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		p.release()
		return nil, err
	}
	return p.update, nil
}

// quota is memory shared by the requests of all clients.
type quota struct {
	used atomic.Int64
	max  int64
}

func (q *quota) take(n int64) bool {
	if q.used.Add(n) <= q.max {
		return true
	}
	q.used.Add(-n)
	return false
}

// parser makes an update of the lines of one request. It has one owner.
type parser struct {
	update *config.Update
	ips    ipArena
	line   int    // of the last line given to add
	shared *quota // may be nil
	cost   int64  // of what is parsed; taken from shared
}

func newParser(shared *quota) *parser {
	return &parser{update: new(config.Update), line: 1, shared: shared}
}

// release wipes the keys and gives back the memory taken from the quota. The
// update is not to be used afterwards.
func (p *parser) release() {
	p.update.PrivateKey = config.PrivateKey{}
	clear(p.update.Peers)
	if p.shared != nil {
		p.shared.used.Add(-p.cost)
	}
	p.cost = 0
}

// add parses the next line. After an error the parser is good for nothing but
// release.
func (p *parser) add(line []byte) error {
	p.line++
	key, value, ok := bytes.Cut(line, []byte{'='})
	if !ok {
		return &Error{Errno: syscall.EPROTO, Line: p.line, Reason: "want KEY=VALUE"}
	}
	var bad *problem
	switch {
	case string(key) == "public_key":
		bad = p.section(value)
	case len(p.update.Peers) == 0:
		bad = p.interfaceLine(key, value)
	default:
		bad = p.peerLine(&p.update.Peers[len(p.update.Peers)-1], key, value)
	}
	if bad == nil {
		return nil
	}
	return &Error{Errno: bad.errno, Line: p.line, Key: printableKey(key), Reason: bad.reason}
}

// spend accounts for n more bytes.
func (p *parser) spend(n int64) *problem {
	if p.cost+n > MaxRequest {
		return &problem{syscall.ENOSPC, "the request is too large; split it"}
	}
	if p.shared != nil && !p.shared.take(n) {
		return &problem{syscall.ENOSPC, "too many large requests at once; try again"}
	}
	p.cost += n
	return nil
}

// section begins a peer. Nothing of the peer before is left in it.
func (p *parser) section(value []byte) *problem {
	if bad := p.spend(peerCost); bad != nil {
		return bad
	}
	var peer config.PeerUpdate
	if bad := parseKey(peer.PublicKey[:], value); bad != nil {
		return bad
	}
	old := p.update.Peers
	p.update.Peers = append(old, peer)
	if len(old) == cap(old) {
		clear(old) // copied: its preshared keys are not to stay behind
	}
	return nil
}

func (p *parser) interfaceLine(key, value []byte) (bad *problem) {
	u := p.update
	switch string(key) {
	case "private_key":
		u.HasPrivateKey = true
		bad = parseKey(u.PrivateKey[:], value)
	case "listen_port":
		u.HasListenPort = true
		u.ListenPort, bad = parseUint16(value)
	case "fwmark":
		u.HasFirewallMark = true
		u.FirewallMark, bad = parseMark(value)
	case "replace_peers":
		u.ReplacePeers = true
		bad = parseTrue(value)
	default:
		bad = unknownKey(key, "before the first public_key")
	}
	return bad
}

func (p *parser) peerLine(peer *config.PeerUpdate, key, value []byte) (bad *problem) {
	switch string(key) {
	case "allowed_ip":
		bad = p.allowedIP(peer, value)
	case "endpoint":
		peer.Endpoint, bad = parseEndpoint(value)
	case "preshared_key":
		peer.HasPresharedKey = true
		bad = parseKey(peer.PresharedKey[:], value)
	case "persistent_keepalive_interval":
		peer.HasPersistentKeepalive = true
		peer.PersistentKeepalive, bad = parseUint16(value)
	case "protocol_version":
		bad = parseVersion(value)
	case "replace_allowed_ips":
		peer.ReplaceAllowedIPs = true
		bad = parseTrue(value)
	case "remove":
		peer.Remove = true
		bad = parseTrue(value)
	case "update_only":
		peer.UpdateOnly = true
		bad = parseTrue(value)
	default:
		bad = unknownKey(key, "after a public_key")
	}
	return bad
}

func (p *parser) allowedIP(peer *config.PeerUpdate, value []byte) *problem {
	if bad := p.spend(allowedIPCost); bad != nil {
		return bad
	}
	var ip config.AllowedIP
	value, ip.Remove = bytes.CutPrefix(value, []byte{'-'})
	var bad *problem
	if ip.Prefix, bad = parsePrefix(value); bad != nil {
		return bad
	}
	peer.AllowedIPs = p.ips.append(peer.AllowedIPs, ip)
	return nil
}

// ipArena holds the allowed IPs of many peers in few pieces of memory. Only
// the list appended to last, which is the tail of chunk, or an empty one may
// be appended to.
type ipArena struct{ chunk []config.AllowedIP }

// Sizes of a chunk, in allowed IPs: a small request stays small.
const (
	minChunk = 4
	maxChunk = 1024
)

func (a *ipArena) append(list []config.AllowedIP, ip config.AllowedIP) []config.AllowedIP {
	if len(a.chunk) == cap(a.chunk) {
		size := max(minChunk, min(2*cap(a.chunk), maxChunk), 2*len(list))
		a.chunk = append(make([]config.AllowedIP, 0, size), list...)
	}
	start := len(a.chunk) - len(list)
	a.chunk = append(a.chunk, ip)
	return a.chunk[start:len(a.chunk):len(a.chunk)]
}
