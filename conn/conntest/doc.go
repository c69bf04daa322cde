// Package conntest is a network in memory for tests. It loses, delays,
// reorders, duplicates and corrupts datagrams as a seed says, and runs on the
// time of package time, so that testing/synctest drives it.
//
//	net := conntest.NewNetwork(1)
//	defer net.Close()
//	a := net.Host(netip.MustParseAddr("192.0.2.1"))
//	b := net.Host(netip.MustParseAddr("192.0.2.2"))
//	net.SetLink(a, b, conntest.Link{Delay: 20 * time.Millisecond, Loss: 0.1})
//
// A Host is a conn.Network. Under synctest make the Network, and everything
// that uses it, within the bubble.
//
// With a delay of 0 Send itself puts a datagram into the receiver's queue.
// Delayed ones are kept in one heap in order of arrival and delivered by one
// timer, so that equal times keep the order in which they were sent. Nothing
// here starts a goroutine that lasts: the timer's ends with each delivery and
// is stopped by Close.
package conntest
