// Package load is many WireGuard clients in one process, for measuring what a
// daemon does with them: storms of handshakes ([Clients.Storm]), traffic of
// established sessions ([Clients.Traffic]), floods of those who mean harm
// ([Clients.Flood]), and a session that says how it fares meanwhile ([Probe]).
//
// A client is a number: its key follows from a seed, its address is 127.x.y.z, its
// receiver index is its number, and what it has besides is at most a handshake and
// a session. None has a goroutine or a socket of its own. It has no timers either,
// but that an unanswered initiation is made anew after 5 s; so it begins all
// sessions, and takes part in none that the daemon begins.
//
// Each operation is one goroutine with one socket: the one that calls. The daemon
// is on the loopback interface of a namespace, where every address of 127.0.0.0/8 is
// the namespace's own and many sources cost nothing.
package load
