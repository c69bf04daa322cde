// Package ipc is the UAPI, the text protocol by which wg(8) and others
// configure a userspace daemon: text <-> config values, and the socket server.
// It knows no device, only the interface Device.
//
// The protocol is the one of https://www.wireguard.com/xplatform/. A client
// writes operations, each ended by an empty line:
//
//	set=1            lines key=value of the interface, then sections that each
//	                 begin with public_key=; answered by errno=N
//	get=1            answered by the same kind of lines, then errno=N
//	culvert_status=1 (ours, where the Device is a Reporter) answered by one line
//	                 status=JSON, then errno=N as for get
//
// and every reply ends with an empty line. errno is 0 on success; otherwise a
// set answers the negative errno (wg(8) prints strerror(-N)) and a get the
// positive one (wg(8) accepts nothing but digits there).
//
// What is the same for every request:
//
//   - It is parsed and checked whole before the device hears of it; a bad line
//     changes nothing, and the log says which line and why, never a key.
//   - It is read in full before Device.Configure is called, so that a slow
//     client holds up only itself.
//   - Its memory is bounded: lines by MaxLine, what is parsed by MaxRequest,
//     all clients together by twice that. More is ENOSPC.
//
// # Goroutines
//
//	goroutine   count            ends when
//	accept      1 per Server     the Server is closed
//	session     1 per client     the client goes, is quiet too long, or the Server is closed
//	watch       1 per Listener   the socket file is gone, or the Listener is closed
//
// Server.Close waits for the first two, Listener.Close for the third.
package ipc

import "culvert/device/config"

// Device is what the server drives. Errors that wrap a syscall.Errno tell the client that errno, others EIO.
// Both methods are called from several goroutines at once.
type Device interface {
	// Configure applies a whole update, or nothing of it. The update and all
	// it points to are the caller's again, and wiped, when it returns.
	Configure(u *config.Update) error
	// Describe calls head once, then peer for every peer in the order of insertion, until one returns an error, which it returns.
	// The values are the caller's only during the call. It streams: neither memory nor traffic suffers from a million peers.
	// The callbacks may block for as long as a client may be slow.
	Describe(head func(*config.Interface) error, peer func(*config.Peer) error) error
}

// A Reporter is a Device that tells of itself what wg(8) does not ask for.
type Reporter interface {
	// Report is a value for encoding/json, with nothing secret in it. It is
	// called from several goroutines at once.
	Report() any
}
