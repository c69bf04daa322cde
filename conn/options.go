package conn

import "log/slog"

// Options are what a Network can be told. The zero value is good.
type Options struct {
	// Logger hears, rarely, of what changes how well the sockets work: an
	// offload that had to be turned off, a route watcher that could not
	// start. nil: nobody does.
	Logger *slog.Logger

	// NoGSO sends every datagram by itself. For drivers that corrupt what they
	// segment without telling. Linux 7.0.0 to 7.1.4 is known to, so there GSO
	// is off anyway, unless ForceGSO is set: for a kernel of such a number
	// that was mended, or a card that is not concerned.
	NoGSO, ForceGSO bool
	// NoGRO has the kernel deliver every datagram by itself.
	NoGRO bool
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Stats is the state of the offloads and what the sockets had to deal with
// since they were made. A Sockets that counts implements
//
//	interface{ Stats() conn.Stats }
//
// Every count is of datagrams unless its comment says otherwise.
type Stats struct {
	GSO bool // at least one socket sends with UDP GSO
	GRO bool // at least one socket receives with UDP GRO
	// RouteWatch tells that sticky sources follow route changes.
	RouteWatch bool
	// NoGSODestinations is how many addresses are sent to without GSO,
	// because the kernel refused it for them (small path MTU, IPsec).
	NoGSODestinations int

	Received      uint64
	ReceiveCalls  uint64 // calls of Receive that returned datagrams
	ReceiveErrors uint64 // calls that failed: ICMP errors, no memory
	Truncated     uint64 // messages dropped because they or their control data were cut

	Sent       uint64
	SendCalls  uint64 // system calls that sent or failed
	SendErrors uint64 // runs that ended with Err
	NoBuffers  uint64 // ENOBUFS and ENOMEM seen; each is tried once more
	Blocked    uint64 // times a full send buffer was waited for

	GSOFallbacks uint64 // GSO messages refused and sent one by one
	// GSOTableFull counts destinations that refuse GSO and could not be
	// remembered.
	GSOTableFull  uint64
	SourceLost    uint64 // times a sticky source was found unusable
	RouteChecks   uint64 // routes looked up for a sticky source
	RouteDeferred uint64 // look-ups put off because there were too many
}
