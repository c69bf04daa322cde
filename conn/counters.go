package conn

import "sync/atomic"

// counters are the counts of Stats, changed by any goroutine, at most a few
// times per call.
type counters struct {
	received, receiveCalls, receiveErrors, truncated            atomic.Uint64
	sent, sendCalls, sendErrors, noBuffers, blocked, bufferFull atomic.Uint64
	gsoFallbacks, gsoTableFull                                  atomic.Uint64
	sourceLost, routeChecks, routeDeferred                      atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Received:      c.received.Load(),
		ReceiveCalls:  c.receiveCalls.Load(),
		ReceiveErrors: c.receiveErrors.Load(),
		Truncated:     c.truncated.Load(),
		Sent:          c.sent.Load(),
		SendCalls:     c.sendCalls.Load(),
		SendErrors:    c.sendErrors.Load(),
		NoBuffers:     c.noBuffers.Load(),
		Blocked:       c.blocked.Load(),
		BufferFull:    c.bufferFull.Load(),
		GSOFallbacks:  c.gsoFallbacks.Load(),
		GSOTableFull:  c.gsoTableFull.Load(),
		SourceLost:    c.sourceLost.Load(),
		RouteChecks:   c.routeChecks.Load(),
		RouteDeferred: c.routeDeferred.Load(),
	}
}
