// Package sim lets whole devices run against each other for hours of virtual time, each
// run from one seed: device.New with its controller, pipes and workers, configured by
// the text of the UAPI through ipc's server, on the TUN of tun/tuntest and the network
// of conn/conntest, in a testing/synctest bubble. A seed draws a topology (2 to 20 nodes,
// some behind a NAT, allowed IPs of both families), flows of packets, and troubles:
// loss, duplication, reordering, damage, partitions, roaming, sleep, jumps of clocks, links down,
// changes of keys, ports and peers, refused sends, full queues, strangers (plan.go).
// Then all is well again, and tunnels have to come back (recovery).
//
// # Steps
//
// The goroutines of a device are not scheduled the same way twice. So the world goes in
// steps, and one goroutine, the driver, decides everything (world.go):
//
//  1. It sleeps until something is due, or a device sends by itself (a timer).
//  2. It waits until every goroutine is blocked (synctest.Wait).
//  3. It takes what was sent, puts it in an order that the scheduler has no part in, looks
//     whether each datagram may be sent (rules.go, keepalives.go), and draws what becomes
//     of it, from a source of each path (wire.go). It takes what came out of the TUNs and
//     looks at that.
//  4. It gives each node one thing that is due: datagrams of one other node, or
//     packets, or a request (group.go). Then 2 again, until nothing is due.
//
// So two things that could race within a device are never given to it at once. What is
// left to chance is which index or key a session gets; nothing here depends on
// those. Jitter is a function of the instant (device.Options.Jitter).
//
// # What is looked at
//
//	a packet     comes out once, unchanged, where it was routed to, from an allowed source,
//	             in order unless the network has changed that; when all is well: at all
//	a message    goes to where its peer has been, with a counter that was not used, with a
//	             key that is confirmed, young enough and not the one before
//	initiations  REKEY_TIMEOUT apart, with T1's jitter, for a reason, and not for ever
//	keepalives   when T2 or T5 says so, or to confirm a session
//	silence      not when T2, T3, T5 or the age of a key says that something is due
//	counters     what went in came out or was dropped for a reason, at each end
//	the end      no goroutine (synctest), memory, index or socket is left
//
// The rules are those of a reader of the protocol, not of the code: where the wire does
// not tell (which of two handshakes a device took), either is right.
package sim
