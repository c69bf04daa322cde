// Package device moves packets: from a TUN interface through WireGuard to UDP
// sockets and back. It is the only package with packet goroutines.
//
// Three parts meet in snapshots. The outbound pipe (outbound.go, send.go) and
// the inbound pipe (inbound.go) carry packets; the controller (controller.go)
// owns every session and decides. Packets never run through the controller, and the pipes
// never decide: they read what it has published (routes, endpoint, send key,
// receiver indices) without a lock, and note what happened in a few atomics per
// peer.
//
//	outbound: drain TUN -> route -> lay into arenas by peer -> reserve counters
//	          -> seal (here, or on workers) -> the peer's sender -> one sendmmsg
//	inbound:  recvmmsg -> classify, drop junk -> group by keypair
//	          -> open (here, or on workers) -> the peer's receiver: replay, inner
//	          header, allowed source -> one write to the TUN
//
// # Goroutines
//
// Every go statement of the package is in this table.
//
//	goroutine            count                  owns                          ends when
//	controller           1                      sessions, wheel, snapshots    stop is closed by Close (controller.run)
//	outbound reader      1 per TUN queue        the batches being filled      TUN closed (outbound.run)
//	inbound reader       1 per socket           the batch being filled        socket closed, or broken (inbound.run)
//	crypto worker        cores beyond two       the job in hand               work queue closed by Close (runWorker)
//	handshake worker     half the cores         up to 16 messages in hand     closing is closed (runHandshakes)
//	sequential sender,   per peer with batches  the order; the replay window  its queue runs dry (runSender, runReceiver)
//	receiver             that wait for a turn
//	watcher              1                      nothing                       TUN closed (watch)
//	stamp keeper         1 with a StampStore    nothing                       its channel is closed by Close (stampKeeper.run)
//
// The sender and the receiver of a peer are goroutines of their own only while
// workers are used, and the sender where the controller sent something while a
// reader pushed. Else the reader that has a batch in hand plays their part, and
// hands it on when other readers have pushed more than maxWaiting batches
// meanwhile: it would else do their work for as long as they have any. The
// controller plays it for up to 64 peers at once, whose keepalives it sends together
// (keepalives.go).
//
// # Many at once
//
// Initiations that nobody waits for (persistent keepalives of peers without a
// session, and their retries) are begun calmly, so many in a tick (starts.go); with
// up to 256 of them nothing of this is seen. Persistent keepalives and the renewal of
// keys have jitter (package session).
//
// # Sockets that are missing
//
// A reader whose socket broke, and a sender that is told so, signal the controller,
// which closes all sockets and opens others, as it does with those that could not be
// opened when the interface came up (reopen.go). That is a deadline of its own beside
// the wheel's. Sessions stay meanwhile; packets are dropped as while the interface
// is down.
//
// # Ownership of a batch
//
// A batch has exactly one owner at any time. Inline: the reader, until it is
// returned to the pool. Handed over: its place in the peer's sequence is taken
// first, then the worker owns it until it signals through the batch's own
// channel, then the sequential sender or receiver. A stage never frees: it marks
// a packet with a Reason; the last stage counts and returns the memory once. An
// inbound reader that is itself the last keeps the batch for its next receive.
// Memory that is kept without need the controller gives back to the system
// (pool.go).
//
// # Locks
//
// None is held while another is taken, with one exception: a peer's stage is
// locked while its packets are sent, over the locks of the sequence, the pool
// and the network, none of which ever takes a stage's. The controller's
// goroutine waits for closing sockets, whose readers never wait for the
// controller, and for the network where it sends a message of its own or a
// stage is being sent; Close ends that wait by closing the sockets.
// A receiver takes the index table's once per session that the other side began.
//
// # Cost per batch
//
// One clock read, one counter reservation (atomic add), two atomics to hold and
// release the keypair, one pool lock each way (inbound only if handed over; handing over costs one more), one sequence lock each way, three
// loads and a store for the timers, one endpoint compare (inbound), one or two
// counter additions, and in the first receive of a tick four loads to see whether there is a
// flood, during which a group costs a mutex (flood.go); where batches have a kernel (internal/chachapoly), two atomic
// exchanges for 32 messages. Per packet: one route look-up (of the destination, or of
// the allowed source), inbound one index look-up, and the cryptography.
package device
