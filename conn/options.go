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

	// Queues is how many sockets per address family share the port, so that as
	// many goroutines receive; 0 is 1. Only Linux has more than one.
	Queues int
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
	GSO bool `json:"-"` // at least one socket sends with UDP GSO
	GRO bool `json:"-"` // at least one socket receives with UDP GRO
	// RouteWatch tells that sticky sources follow route changes.
	RouteWatch bool `json:"-"`
	// NoGSODestinations is how many addresses are sent to without GSO,
	// because the kernel refused it for them (small path MTU, IPsec).
	NoGSODestinations int `json:"-"`

	Received      uint64 `json:"received"`
	ReceiveCalls  uint64 `json:"receive_calls"`  // calls of Receive that returned datagrams
	ReceiveErrors uint64 `json:"receive_errors"` // calls that failed: ICMP errors, no memory
	Truncated     uint64 `json:"truncated"`      // messages dropped because they or their control data were cut

	// What the kernel dropped because those before it had not been read: of LaneMain, LaneRest
	// and LaneAside. Linux only, from 4.12 on.
	ReceiveFull uint64 `json:"receive_full"`
	RestFull    uint64 `json:"rest_full"`
	AsideFull   uint64 `json:"aside_full"`

	Sent       uint64 `json:"sent"`
	SendCalls  uint64 `json:"send_calls"`  // system calls that sent or failed
	SendErrors uint64 `json:"send_errors"` // runs that ended with Err
	NoBuffers  uint64 `json:"no_buffers"`  // ENOBUFS and ENOMEM seen; each is tried once more
	Blocked    uint64 `json:"blocked"`     // times a full send buffer was waited for
	BufferFull uint64 `json:"buffer_full"` // messages dropped because it stayed full

	GSOFallbacks uint64 `json:"gso_fallbacks"` // GSO messages refused and sent one by one
	// GSOTableFull counts destinations that refuse GSO and could not be
	// remembered.
	GSOTableFull  uint64 `json:"gso_table_full"`
	SourceLost    uint64 `json:"source_lost"`    // times a sticky source was found unusable
	RouteChecks   uint64 `json:"route_checks"`   // routes looked up for a sticky source
	RouteDeferred uint64 `json:"route_deferred"` // look-ups put off because there were too many
}
