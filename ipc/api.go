// Package ipc is the UAPI: text <-> config values, and the socket server. It knows no device.
package ipc

import "culvert/device/config"

// Device is what the server drives. Errors that wrap a syscall.Errno tell the client that errno, others EIO.
type Device interface {
	// Configure applies a whole update, or nothing of it.
	Configure(u *config.Update) error
	// Describe calls head once, then peer for every peer in the order of insertion, until one returns an error, which it returns.
	// The values are the caller's only during the call. It streams: neither memory nor traffic suffers from a million peers.
	Describe(head func(*config.Interface) error, peer func(*config.Peer) error) error
}
