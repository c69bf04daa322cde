package config

import (
	"net/netip"
	"time"
)

// Update is one request to change a device (a whole set=1 of the UAPI). It has
// been checked whole; applying it changes only what is named. Peers are
// applied in order.
type Update struct {
	HasPrivateKey bool
	PrivateKey    PrivateKey // clamped on use; all zeros clears the key

	HasListenPort bool
	ListenPort    uint16 // 0 picks one that is free

	HasFirewallMark bool
	FirewallMark    uint32 // 0 is none

	ReplacePeers bool // peers not listed below go
	Peers        []PeerUpdate
}

// PeerUpdate changes, adds or removes one peer.
type PeerUpdate struct {
	PublicKey  PublicKey
	Remove     bool
	UpdateOnly bool // never adds a peer

	HasPresharedKey bool
	PresharedKey    PresharedKey // all zeros clears it

	// Endpoint is where the peer is; invalid means "not named". Never an
	// IPv4-mapped address; an IPv6 address may have a zone.
	Endpoint netip.AddrPort

	HasPersistentKeepalive bool
	PersistentKeepalive    uint16 // seconds, 0 is off

	ReplaceAllowedIPs bool
	AllowedIPs        []AllowedIP // applied in order
}

// AllowedIP adds a prefix to a peer, taking it from any other peer, or with
// Remove takes it from this very peer. The prefix is masked.
type AllowedIP struct {
	Prefix netip.Prefix
	Remove bool
}

// Interface is what a device reports of itself.
type Interface struct {
	PrivateKey   PrivateKey // clamped; all zeros if none
	ListenPort   uint16
	FirewallMark uint32
}

// Peer is what a device reports of one peer. The reader owns it only until it
// asks for the next one: AllowedIPs is reused.
type Peer struct {
	PublicKey           PublicKey
	PresharedKey        PresharedKey
	Endpoint            netip.AddrPort // invalid if unknown
	PersistentKeepalive uint16         // seconds
	LastHandshake       time.Time      // zero if never
	RxBytes, TxBytes    uint64
	AllowedIPs          []netip.Prefix // in the order they were added
}
