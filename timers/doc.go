// Package timers has the five deadline rules of a peer and the wheel that
// holds one deadline per peer. It is pure: "now" and jitter are handed in, and
// nothing here reads a clock, takes a lock or starts a goroutine.
//
// # The five timers in words
//
// Each peer has five timers (Linux timers.c). All run on the boot-time clock.
//
//   - T1, retransmit handshake. An initiation went out: unless a session comes
//     of it, send another after 5 s and a little (jitter). After 20 in a row,
//     give up.
//   - T2, passive keepalive. Data came in and for 10 s nothing went out: send a
//     keepalive, so that the other side knows its data arrived.
//   - T3, new handshake. Data went out and for 15 s and a little (jitter)
//     nothing authentic came back: the other side should have sent at least a
//     passive keepalive by then, so the session is lost: make a new one.
//   - T4, zero key material. No session was derived for 540 s: wipe all secrets.
//   - T5, persistent keepalive. Neither side was heard for as long as the user
//     said: send a keepalive, to keep a NAT mapping open.
//
// A rule is a function from "since when" to "until when"; a rule that is not
// armed has the deadline clock.Never. A peer's deadline is the earliest of the
// five (Time.Min ignores those that are not armed), and it is the only thing
// that has a place in a Wheel: five runtime timers per peer would cost more
// memory than all the rest of an idle peer.
//
// When a rule is armed, cancelled and what it does when it is due is the
// business of package device/session.
package timers
